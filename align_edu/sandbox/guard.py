"""The audit hook of a sandboxed process: it refuses by name what a graded function never needs.

It sees what Python itself does: sockets, new processes, ctypes, and files outside. What is refused
raises PermissionError and is told at once. Libraries look around while they are imported; that is
refused too, but not told, for it was not the student's wish.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

CODE = "<cell "  # how the file names of a student's code begin

_PROCESS = {
    "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "os.startfile",
    "os.kill", "os.killpg", "subprocess.Popen", "pty.spawn", "signal.pthread_kill",
}  # fmt: skip
_MEMORY = {
    "ctypes.dlopen", "ctypes.dlsym", "ctypes.dlsym/handle", "ctypes.call_function",
    "ctypes.cdata", "ctypes.cdata/buffer", "ctypes.string_at", "ctypes.wstring_at",
}  # fmt: skip
# Which of the event's arguments are paths that would change.
_CHANGES = {
    "os.remove": (0,), "os.rename": (0, 1), "os.mkdir": (0,), "os.rmdir": (0,),
    "os.truncate": (0,), "os.utime": (0,), "shutil.rmtree": (0,), "shutil.move": (0, 1),
}  # fmt: skip
_NEVER = {"os.chmod", "os.chown", "os.link", "os.symlink", "os.setxattr", "os.removexattr",
          "os.chflags", "os.lockf", "resource.prlimit"}  # fmt: skip
_LISTS = {"os.listdir", "os.scandir", "os.chdir"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Rules:
    """Where files may be touched.

    Parameters
    ----------
    scratch : the one folder in which files may be written.
    readable : folders and files that may be read: Python and its packages.
    private : folders of the submissions and of the marks; looking there is told.
    native : whether ctypes may be used: only where the kernel itself keeps these rules.
    """

    scratch: str
    readable: tuple[str, ...]
    private: tuple[str, ...]
    native: bool


def install(rules: Rules, tell: Callable[[str], None]) -> None:
    """Refuse from now on, in this process, what the rules do not allow; there is no way back.

    ``tell`` is called with what was tried, in a few words.
    """

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        what = _refused(event, arguments, rules)
        if what is None:
            return
        words, wish = what
        if wish and _is_wish(sys._getframe(1), rules.scratch):
            tell(words)
        raise PermissionError(f"{words} is not allowed here")

    sys.addaudithook(hook)


def _refused(event: str, arguments: Sequence[Any], rules: Rules) -> tuple[str, bool] | None:
    """What is refused, in words, and whether that is worth telling; None where all is well."""
    if event == "open":
        return _opened(arguments, rules)
    if event.startswith("socket.") and event != "socket.gethostname":
        return "the network", True
    if event in _PROCESS:
        return "another process or program", True
    if event in _MEMORY and not rules.native:
        return "ctypes", True
    if event in _NEVER:
        return "a change of the system", True
    if event in _CHANGES and not all(
        _below(arguments[place], (rules.scratch,)) for place in _CHANGES[event]
    ):
        return "a file outside its own folder", True
    if event in _LISTS and arguments and arguments[0] is not None:
        return _looked(arguments[0], rules)
    return None


def _opened(arguments: Sequence[Any], rules: Rules) -> tuple[str, bool] | None:
    path, mode, flags = arguments
    if isinstance(path, int) or path is None:
        return None  # what is open already
    writes = bool((flags or 0) & _WRITES) or (isinstance(mode, str) and set(mode) & set("wax+"))
    if not writes:
        return _looked(path, rules)
    if _below(path, (rules.scratch,)) or os.fsdecode(path) == os.devnull:
        return None
    return "a file outside its own folder", True


def _looked(path: Any, rules: Rules) -> tuple[str, bool] | None:
    if isinstance(path, int) or _below(path, (rules.scratch, *rules.readable)):
        return None
    if _below(path, rules.private):
        return "the submissions and marks of others", True
    return "a file outside its own folder", False


def _below(path: Any, folders: Sequence[str]) -> bool:
    try:
        real = os.path.realpath(os.fsdecode(path))
    except (TypeError, ValueError, OSError):
        return False
    return any(real == folder or real.startswith(folder + os.sep) for folder in folders)


def _is_wish(frame: FrameType | None, scratch: str) -> bool:
    """Whether a student's code asked, and no library on its way in."""
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith((CODE, scratch)):
            return True
        if name.startswith("<frozen importlib"):
            return False
        frame = frame.f_back
    return False


def readable_places() -> list[Path]:
    """Return the folders and files that Python and its packages read."""
    import numpy
    import torch

    import align_edu

    packages = [Path(module.__file__).parent.parent for module in (torch, numpy)]  # type: ignore[arg-type]
    system = [Path(name) for name in ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share")]
    system += [Path("/dev/null"), Path("/dev/urandom"), Path("/proc/cpuinfo")]
    system += [Path("/proc/meminfo"), Path("/sys/devices/system/cpu"), Path("/etc/localtime")]
    own = [Path(sys.prefix), Path(sys.base_prefix), Path(align_edu.__file__).parent]
    places = dict.fromkeys(path.resolve() for path in [*own, *packages, *system] if path.exists())
    return list(places)
