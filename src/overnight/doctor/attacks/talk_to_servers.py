"""Reach a server on loopback, an abstract socket, or a name server.

network: close it with network = false under [run].
"""

import socket

try:
    with socket.create_connection(("127.0.0.1", DOCTOR["port"]), timeout=3):
        through("a server on loopback answered")
except OSError as error:
    refused(f"loopback: {error}")
try:
    with socket.socket(socket.AF_UNIX) as local:
        local.connect("\0" + DOCTOR["abstract"])
        through("an abstract socket answered")
except OSError as error:
    refused(f"abstract socket: {error}")
try:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        datagram.sendto(b"?", ("127.0.0.1", DOCTOR["port"]))
        datagram.connect(("127.0.0.1", DOCTOR["port"]))
        datagram.settimeout(1)
        datagram.send(b"?")
        datagram.recv(1)
        through("a datagram was answered")
except OSError as error:
    refused(f"datagram: {error}")
try:
    through(f"a name server answered: {socket.getaddrinfo('example.org', 80)[0][4]}")
except OSError as error:
    refused(f"name server: {error}")
