"""Confines the current process with Landlock and seccomp, then executes the command.

The supervisor forks the process; sandbox/landlock.py makes the restrictions. Imports only modules
that load within 2 ms. The kernel enforces everything: no helper process, no slower calls.
"""

import _ctypes
import array
import os
import resource
import stat
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # `signal` loads `enum`

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK, _TRUNCATE, _IOCTL = 1 << 6, 1 << 11, 1 << 14, 1 << 15
_ALL = (1 << 16) - 1
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE = _ALL & ~(_MAKE_CHAR | _MAKE_BLOCK | _IOCTL)
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_SCOPES = 0b11  # no signals or abstract sockets to processes outside
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER, _DROP_FROM_BOUNDING_SET = 38, 22, 2, 24
_SET_CAPABILITIES = {"x86_64": 126, "aarch64": 91}
_LAST_CAPABILITY = "/proc/sys/kernel/cap_last_cap"


class _Function(_ctypes.CFuncPtr):
    # Only the core of ctypes: importing all of it would double the start-up time.
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO


_program = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # None: this program itself
_syscall, _c_prctl = (_Function(_ctypes.dlsym(_program, name)) for name in ("syscall", "prctl"))


class Restrictions:
    """What the process may reach: the fields of the dict that sandbox/landlock.py makes."""

    readable: list[str]
    own: list[str]
    hidden: list[str]
    writable: list[str]
    devices: list[str]
    seccomp: bytes
    limits: dict[str, int]
    cwd: str

    def __init__(self, fields: dict[str, object]) -> None:
        self.__dict__.update(fields)


class Ruleset:
    """Landlock rules: this process and its children are refused what no rule grants."""

    def __init__(self) -> None:
        attributes = struct.pack("=QQQ", _ALL, 0, _SCOPES)
        self._fd = _call(_CREATE_RULESET, attributes, len(attributes), 0)

    def grant(self, path: str, rights: int) -> None:
        """Grant rights at a path and below it; a missing path is ignored."""
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _FILE_RIGHTS
        _call(_ADD_RULE, self._fd, _PATH_BENEATH, struct.pack("=Qi", rights, fd), 0)
        os.close(fd)

    def grant_around(self, path: str, hidden: set[str]) -> None:
        """Grant reading below a path, except for hidden paths. Landlock has no exceptions, so
        everything beside a hidden path is granted one by one; names can still be listed."""
        if path in hidden:
            return
        if not any(other.startswith(path.rstrip("/") + "/") for other in hidden):
            self.grant(path, _READ)
            return
        self.grant(path, _READ_DIR)
        with os.scandir(path) as entries:
            for entry in entries:
                if not entry.is_symlink():
                    self.grant_around(entry.path, hidden)

    def enforce(self) -> None:
        """Apply the rules to this process. They cannot be lifted again."""
        _call(_RESTRICT_SELF, self._fd, 0)
        os.close(self._fd)


def _call(number: int, *arguments: object) -> int:
    result = int(_syscall(number, *arguments))
    if result < 0:
        code = _ctypes.get_errno()
        raise OSError(code, f"system call {number}: {os.strerror(code)}")
    return result


def _prctl(option: int, *values: object) -> None:
    padded = [*values, *[0] * (4 - len(values))]
    if _c_prctl(option, *padded) != 0:
        code = _ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")


def drop_capabilities() -> None:
    """Drop all capabilities for good: root keeps its user id without its powers."""
    with open(_LAST_CAPABILITY) as file:
        last = int(file.read())
    try:
        for capability in range(last + 1):
            _prctl(_DROP_FROM_BOUNDING_SET, capability)
    except PermissionError:
        pass  # an ordinary user has none
    header, none = struct.pack("=Ii", 0x20080522, 0), bytes(24)
    _call(_SET_CAPABILITIES[os.uname().machine], header, none)


def filter_calls(program: bytes) -> None:
    """Install the seccomp filter."""
    code = array.array("B", program)
    _prctl(_SET_SECCOMP, _FILTER, struct.pack("HxxxxxxP", len(program) // 8, code.buffer_info()[0]))


def confine(restrictions: Restrictions) -> None:
    """Apply the restrictions to the current process."""
    for name, most in restrictions.limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    rules = Ruleset()
    hidden = set(restrictions.hidden)
    for path in [*restrictions.readable, *restrictions.own]:
        rules.grant_around(path, hidden)
    # Only this process: Landlock cannot name children that do not exist yet.
    rules.grant(f"/proc/{os.getpid()}", _READ & ~_EXECUTE)
    for path in restrictions.writable:
        rules.grant(path, _WRITE)
    for path in restrictions.devices:
        rules.grant(path, _READ_FILE | _WRITE_FILE | _IOCTL)
    os.chdir(restrictions.cwd)
    _prctl(_SET_NO_NEW_PRIVS, 1)
    drop_capabilities()
    rules.enforce()
    filter_calls(restrictions.seccomp)


def spawn(
    restrictions: dict[str, object],
    argv: list[str],
    env: dict[str, str],
    ends: dict[int, int],
    signals: list[int],
) -> int:
    """Fork a process that confines itself and executes the command. Returns its pid.

    ends: descriptor in the child → descriptor here. signals: to be reset to their default action.
    """
    if pid := os.fork():
        return pid
    try:
        os.setsid()
        for target, end in ends.items():
            os.dup2(end, target)
        for number in signals:
            _signal.signal(number, _signal.SIG_DFL)
        confine(Restrictions(restrictions))
        os.execve(argv[0], argv, env)
    except BaseException as error:  # the child must not go on as its parent
        os.write(2, f"overnight: the sandbox could not be entered: {error}\n".encode())
    finally:
        os._exit(126)
