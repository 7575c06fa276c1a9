"""Break out: new namespaces, mounts, raw sockets, devices, kernel settings, another user's id.

close it with a sandbox: without one, a run as root controls the machine.
"""

import ctypes
import os
import tempfile

kernel = ctypes.CDLL(None)
folder = os.fsencode(tempfile.mkdtemp())


def mount():
    done = kernel.mount(b"none", folder, b"tmpfs", 0, None)
    kernel.umount2(folder, 2)
    return done


tries = {
    "a new user namespace": lambda: kernel.unshare(0x10000000),
    "a mount": mount,
    "a chroot": lambda: kernel.chroot(b"/tmp"),
    "a raw socket": lambda: kernel.socket(17, 3, 0),
    "a socket to the hypervisor": lambda: kernel.socket(40, 1, 0),
    "another user": lambda: kernel.setuid(12345),
}
for name, act in tries.items():
    try:
        (through if act() >= 0 else refused)(name)
    except AttributeError:
        refused(f"{name}: not on this system")
settings = ("core_pattern", "modprobe", "hotplug", "sysrq")
for name in (*(f"/proc/sys/kernel/{name}" for name in settings), "/proc/sysrq-trigger"):
    try:
        os.close(os.open(name, os.O_WRONLY))
        through(f"{name} could be opened for writing")
    except OSError as error:
        refused(f"{name}: {error.strerror}")
for device in ("/dev/mem", "/dev/vda", "/dev/sda", "/dev/kvm", "/dev/kmsg"):
    try:
        os.close(os.open(device, os.O_RDONLY))
        through(f"{device} could be opened")
    except OSError as error:
        refused(f"{device}: {error.strerror}")
