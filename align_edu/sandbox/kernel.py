"""What the Linux kernel itself refuses to a process: Landlock, seccomp, and no capabilities.

An audit hook sees what Python does; code of C and C++ (torch.save is) goes past it. These rules
hold for that too, for the superuser as well, and cannot be taken back:

- Landlock (kernel 5.13; TCP from 6.7): files are read and written below given folders only.
- seccomp (x86-64 and arm64): no sockets, no new processes or programs, no signals to others, no
  change of modes and owners, no other ways around.
- The superuser's capabilities are dropped.

Where a kernel lacks one of them, `offered` does not name it, and the audit hook and the limits of
`align_edu.sandbox.child` are all there is: enough against mistakes, not against malice.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

# <linux/landlock.h>: rights of files, by bit; the last ones came with later versions (ABI).
_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << n for n in (1, 2, 3, 4, 5))
_MAKE_DIR, _MAKE_REG, _REFER, _TRUNCATE = (1 << n for n in (7, 8, 13, 14))
_ALL = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_READ = _READ_FILE | _READ_DIR
_CHANGE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG
_TCP, _SCOPES = 3, 3  # bind and connect; abstract sockets and signals to processes outside
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every processor

# Refused system calls by their numbers on x86-64 and on arm64, where there are such.
_REFUSED = {
    "socket": (41, 198), "socketpair": (53, 199), "io_uring_setup": (425, 425),
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "setsid": (112, 157), "setpgid": (109, 154),
    "setpriority": (141, 140), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122), "ioprio_set": (251, 30),
    "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186),
    "mq_open": (240, 180), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53),
    "fchmodat2": (452, 452), "chown": (92, None), "fchown": (93, 55), "lchown": (94, None),
    "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None), "futimesat": (261, None),
    "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
}  # fmt: skip
_CLONE, _CLONE3, _TGKILL, _PRLIMIT = (56, 220), (435, 435), (234, 131), (302, 261)
_PROCESSORS = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, AUDIT_ARCH
_CLONE_THREAD = 0x10000
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_SET_DEATH_SIGNAL, _SET_SECCOMP, _SET_NO_NEW_PRIVILEGES = 1, 22, 38  # of prctl


def offered() -> list[str]:
    """Return which of "landlock" and "seccomp" this machine has.

    >>> set(offered()) <= {"landlock", "seccomp"}
    True
    """
    if sys.platform != "linux":
        return []
    landlock = ["landlock"] if _landlock_version() > 0 else []
    return landlock + (["seccomp"] if platform.machine() in _PROCESSORS else [])


def die_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends."""
    if sys.platform == "linux":
        _libc().prctl(_SET_DEATH_SIGNAL, 9, 0, 0, 0)


def lock(readable: Iterable[Path], writable: Iterable[Path]) -> None:
    """Put this process under all rules that the kernel offers, for good.

    Raises OSError where one that is offered cannot be put on.
    """
    if sys.platform != "linux":
        return
    _checked(_libc().prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no new privileges")
    _drop_capabilities()
    if "landlock" in offered():
        _restrict_files(readable, writable)
    if "seccomp" in offered():
        _filter_calls()


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


@cache
def _landlock_version() -> int:
    return int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1))


def _restrict_files(readable: Iterable[Path], writable: Iterable[Path]) -> None:
    version = _landlock_version()
    handled = _ALL[min(version, 4)]
    fields = [handled, *([_TCP] if version >= 4 else []), *([_SCOPES] if version >= 6 else [])]
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    size = ctypes.c_size_t(len(attributes))
    rules = _checked(_libc().syscall(_CREATE_RULESET, attributes, size, 0), "landlock")
    for path in readable:
        _allow(rules, path, _READ)
    for path in writable:
        _allow(rules, path, (_CHANGE | _REFER | _TRUNCATE) & handled)
    _checked(_libc().syscall(_RESTRICT_SELF, rules, 0), "landlock")
    os.close(rules)


def _allow(rules: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no rule
    if not path.is_dir():
        rights &= _READ_FILE | _WRITE_FILE | _TRUNCATE
    rule = struct.pack("=Qi", rights, place)
    _checked(_libc().syscall(_ADD_RULE, rules, 1, rule, 0), f"landlock, {path}")
    os.close(place)


def _drop_capabilities() -> None:
    header = struct.pack("=Ii", 0x20080522, 0)
    _checked(_libc().capset(header, bytes(24)), "capabilities")


def _filter_calls() -> None:
    """A filter in the kernel's small language: on each call, jump to the verdict."""
    column, processor = _PROCESSORS[platform.machine()]
    program = _program(column, processor, os.getpid())
    code = ctypes.create_string_buffer(b"".join(program))
    pointer = struct.pack("@HP", len(program), ctypes.addressof(code))
    _checked(_libc().prctl(_SET_SECCOMP, 2, pointer, 0, 0), "seccomp")


def _program(column: int, processor: int, process: int) -> list[bytes]:
    number, first, low = 0, 16, 0x15  # offsets in what a filter sees; opcode jump-if-equal
    refuse, allow = _step(6, _ERRNO | errno.EPERM), _step(6, _ALLOW)
    program = [
        _step(0x20, 4), _step(low, processor, 1), refuse,  # another processor's calls
        _step(0x20, number), _step(0x35, 0x40000000, 0, 1), refuse,  # the x32 numbers
    ]  # fmt: skip
    for call in _REFUSED.values():
        if call[column] is not None:
            program += [_step(low, call[column] or 0, 0, 1), refuse]
    # glibc falls back from clone3 to clone, whose flags can be seen: threads, no processes.
    program += [_step(low, _CLONE3[column], 0, 1), _step(6, _ERRNO | errno.ENOSYS)]
    conditions: Sequence[tuple[int, int, int]] = (
        (_CLONE[column], 0x45, _CLONE_THREAD),
        (_TGKILL[column], low, process),
        (_PRLIMIT[column], low, 0),  # limits of this process only
    )
    for call_number, test, value in conditions:
        program += [
            _step(low, call_number, 0, 4), _step(0x20, first), _step(test, value, 0, 1), allow,
            refuse,
        ]  # fmt: skip
    return [*program, allow]


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)
