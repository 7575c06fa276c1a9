"""The system calls that no confined process may make, as a seccomp program.

Both Linux back ends install it. It blocks calls that lead out of a sandbox or have a record of
security holes (tracing, new namespaces, mounts, io_uring, key rings), and calls that hold memory
where the meters do not see it (memory files, System V shared memory). Under Landlock, which has no
network namespace, it also blocks sockets.
"""

import os
import struct

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_EPERM, _EACCES, _ENOSYS = 1, 13, 38
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X32 = 0x40000000
_NEW_NAMESPACES = 0x7E020080  # every CLONE_NEW* flag
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_STREAM, _DATAGRAM, _SEQPACKET, _TYPE = 1, 2, 5, 0xF

# The AUDIT_ARCH_* value, then the number of each system call
_TABLES = {
    "x86_64": (
        0xC000003E,
        {
            "socket": 41, "socketpair": 53, "clone": 56, "clone3": 435, "memfd_create": 319,
            "shmget": 29, "semget": 64, "msgget": 68, "mq_open": 240, "prlimit64": 302,
            "setpriority": 141, "ioprio_set": 251, "sched_setaffinity": 203, "sched_setattr": 314,
            "sched_setscheduler": 144, "sched_setparam": 142, "ptrace": 101, "unshare": 272,
            "setns": 308, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161,
            "move_mount": 429, "open_tree": 428, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
            "fspick": 433, "mount_setattr": 442, "bpf": 321, "perf_event_open": 298,
            "userfaultfd": 323, "keyctl": 250, "add_key": 248, "request_key": 249,
            "process_vm_readv": 310, "process_vm_writev": 311, "process_madvise": 440,
            "pidfd_getfd": 438, "kcmp": 312, "open_by_handle_at": 304, "name_to_handle_at": 303,
            "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
            "init_module": 175, "finit_module": 313, "delete_module": 176, "kexec_load": 246,
            "kexec_file_load": 320, "reboot": 169, "swapon": 167, "swapoff": 168, "acct": 163,
            "quotactl": 179, "settimeofday": 164, "clock_settime": 227, "clock_adjtime": 305,
            "adjtimex": 159, "sethostname": 170, "setdomainname": 171, "syslog": 103,
            "personality": 135, "lookup_dcookie": 212, "iopl": 172, "ioperm": 173,
            "migrate_pages": 256, "move_pages": 279, "vhangup": 153, "fanotify_init": 300,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "socket": 198, "socketpair": 199, "clone": 220, "clone3": 435, "memfd_create": 279,
            "shmget": 194, "semget": 190, "msgget": 186, "mq_open": 180, "prlimit64": 261,
            "setpriority": 140, "ioprio_set": 30, "sched_setaffinity": 122, "sched_setattr": 274,
            "sched_setscheduler": 119, "sched_setparam": 118, "ptrace": 117, "unshare": 97,
            "setns": 268, "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51,
            "move_mount": 429, "open_tree": 428, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
            "fspick": 433, "mount_setattr": 442, "bpf": 280, "perf_event_open": 241,
            "userfaultfd": 282, "keyctl": 219, "add_key": 217, "request_key": 218,
            "process_vm_readv": 270, "process_vm_writev": 271, "process_madvise": 440,
            "pidfd_getfd": 438, "kcmp": 272, "open_by_handle_at": 265, "name_to_handle_at": 264,
            "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
            "init_module": 105, "finit_module": 273, "delete_module": 106, "kexec_load": 104,
            "kexec_file_load": 294, "reboot": 142, "swapon": 224, "swapoff": 225, "acct": 89,
            "quotactl": 60, "settimeofday": 170, "clock_settime": 112, "clock_adjtime": 266,
            "adjtimex": 171, "sethostname": 161, "setdomainname": 162, "syslog": 116,
            "personality": 92, "lookup_dcookie": 18, "migrate_pages": 238, "move_pages": 239,
            "vhangup": 58, "fanotify_init": 262,
        },
    ),
}  # fmt: skip
# Answered with ENOSYS, as if the kernel lacked them, so that programs fall back to older calls.
_ABSENT = {"clone3", "memfd_create", "io_uring_setup", "io_uring_enter", "io_uring_register"}
_SELF_ONLY = (
    "prlimit64", "ioprio_set", "setpriority", "sched_setaffinity", "sched_setattr",
    "sched_setscheduler", "sched_setparam",
)  # fmt: skip
"""Allowed only on the calling process: the argument that holds the pid must be 0."""
_PID_ARGUMENT = {"ioprio_set": 1, "setpriority": 1}
"""Position of that argument, where it is not the first."""


def machine_problem() -> str | None:
    """Why there can be no filter on this machine; None when there can."""
    machine = os.uname().machine
    return None if machine in _TABLES else f"overnight has no table of system calls for {machine}"


def seccomp_program(sockets: str, memory_files: bool = False) -> bytes:
    """The filter as an array of `struct sock_filter`.

    sockets: "any" allows the usual families (a network namespace confines them); "internet"
    excludes local sockets, which reach other programs by a path; "none" allows socket pairs only.
    memory_files: allow memfd_create.
    """
    audit, numbers = _TABLES[os.uname().machine]
    code = [_load(_ARCHITECTURE), *_refuse_unless_equal(audit, _EPERM), _load(_NUMBER)]
    if audit == 0xC000003E:
        code += [_jump(_JUMP_GREATER_EQUAL, _X32, 0, 1), _refuse(_EPERM)]
    special = {"socket", "socketpair", "clone", *_SELF_ONLY}
    if memory_files:
        special.add("memfd_create")
    for name, number in numbers.items():
        if name not in special:
            reason = _ENOSYS if name in _ABSENT else _EPERM
            code += [_jump(_JUMP_EQUAL, number, 0, 1), _refuse(reason)]
    flags = [
        _load(_argument(0)),
        _statement(_AND, _NEW_NAMESPACES),
        *_refuse_unless_equal(0, _EPERM),
    ]
    code += _on(numbers["clone"], flags)
    for name in _SELF_ONLY:
        on_itself = [_load(_argument(_PID_ARGUMENT.get(name, 0))), *_refuse_unless_equal(0, _EPERM)]
        code += _on(numbers[name], on_itself)
    code += _on(numbers["socket"], _refuse_unless_one_of(_argument(0), _FAMILIES[sockets]))
    if sockets != "any":
        # A datagram socket can send to any path, even as one of a pair.
        kind = [_load(_argument(1)), _statement(_AND, _TYPE), *_refuse_if_equal(_DATAGRAM)]
        code += _on(numbers["socketpair"], [*_refuse_unless_one_of(_argument(0), (_UNIX,)), *kind])
    return b"".join([*code, _statement(_RETURN, _ALLOW)])


_FAMILIES = {"any": (_UNIX, _INET, _INET6, _NETLINK), "internet": (_INET, _INET6, _NETLINK)}
_FAMILIES["none"] = ()


def _statement(code: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, 0, 0, value)


def _jump(code: int, value: int, yes: int, no: int) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _load(offset: int) -> bytes:
    return _statement(_LOAD, offset)


def _refuse(reason: int) -> bytes:
    return _statement(_RETURN, _ERRNO | reason)


def _argument(place: int) -> int:
    return _ARGUMENTS + 8 * place


def _refuse_unless_equal(value: int, reason: int) -> list[bytes]:
    return [_jump(_JUMP_EQUAL, value, 1, 0), _refuse(reason)]


def _refuse_if_equal(value: int) -> list[bytes]:
    return [_jump(_JUMP_EQUAL, value, 0, 1), _refuse(_EACCES)]


def _refuse_unless_one_of(offset: int, values: tuple[int, ...]) -> list[bytes]:
    tests = [
        _jump(_JUMP_EQUAL, value, len(values) - place, 0) for place, value in enumerate(values)
    ]
    return [_load(offset), *tests, _refuse(_EACCES)]


def _on(number: int, body: list[bytes]) -> list[bytes]:
    """Run `body`, then allow, if the call is `number`; other calls skip it."""
    body = [*body, _statement(_RETURN, _ALLOW)]
    return [_jump(_JUMP_EQUAL, number, 0, len(body)), *body]
