"""Cuts the network for every Python process that has this folder on its PYTHONPATH.

Only local sockets pass. A refused attempt raises NetworkIsCut and is written to the file that
ALIGN_EDU_NETWORK_LOG names, so that a library which swallows the error is found all the same.
"""

import ipaddress
import os
import socket
import sys
import traceback

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if "ipykernel_launcher" in sys.orig_argv:
    os.environ.pop("MPLBACKEND", None)  # a notebook draws inline
else:
    os.environ["MPLBACKEND"] = "agg"

_TO_ADDRESS = {"socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1}  # where it stands
_TO_NAME = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


class NetworkIsCut(ConnectionError):
    """Raised in place of a connection that would leave this machine."""


def is_local(host: object) -> bool:
    """Whether a host, by name or by number, is this machine."""
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if host in (None, "", "localhost", "0.0.0.0", "::", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def asker() -> str:
    """The innermost place on the stack that is not Python's own library."""
    library = os.path.dirname(os.__file__)
    places = [
        f"{frame.filename}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_stack()
        if frame.filename != __file__
        and (not frame.filename.startswith(library) or "site-packages" in frame.filename)
    ]
    return places[-1] if places else "Python's own library"


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    """Audit hook: raise NetworkIsCut where the event would leave this machine."""
    if event in _TO_ADDRESS:
        address = arguments[_TO_ADDRESS[event]]
        if not isinstance(address, tuple) or is_local(address[0]):
            return  # a local socket's address is a path
    elif event in _TO_NAME:
        address = arguments[0]
        if is_local(address):
            return
    else:
        return
    message = f"{event} to {address!r} refused: tests run without a network; asked by {asker()}"
    if log := os.environ.get("ALIGN_EDU_NETWORK_LOG"):
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{message} ({' '.join(sys.orig_argv)[:200]})\n")
    raise NetworkIsCut(message)


if not getattr(sys, "align_edu_network_is_cut", False):  # an audit hook cannot be taken away
    sys.align_edu_network_is_cut = True  # type: ignore[attr-defined]
    sys.addaudithook(refuse)
