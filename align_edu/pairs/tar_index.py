"""Find each member of a tar file by reading its headers once."""

import mmap
import tarfile
from collections.abc import Iterator
from pathlib import Path

BLOCK = 512
REGULAR = (b"0", b"\0")


def tar_members(path: Path) -> Iterator[tuple[str, int, int]]:
    """List the files in an uncompressed tar as (name, offset, size in bytes), in order.

    Reads plain headers directly, about ten times faster than `tarfile` (a toy world has 300,000
    of them). At the first header of another kind (long names, pax records, links) `tarfile`
    takes over. Nothing is extracted.

    Raises tarfile.ReadError, after the members before the damage, if the file is no tar or ends
    in the middle of a member.
    """
    with path.open("rb") as file:
        length = file.seek(0, 2)
        if length == 0:
            raise tarfile.ReadError("empty file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as tar:
            at = 0
            while at + BLOCK <= length:
                header = tar[at : at + BLOCK]
                if not header.strip(b"\0"):  # two empty blocks end a tar
                    return
                member = _plain_header(header)
                if member is None:
                    yield from _slow_members(path, at)
                    return
                name, size = member
                if at + BLOCK + size > length:
                    raise tarfile.ReadError("unexpected end of data")
                yield name, at + BLOCK, size
                at += BLOCK + -(-size // BLOCK) * BLOCK
    if at < length:
        raise tarfile.ReadError("unexpected end of data")


def _plain_header(header: bytes) -> tuple[str, int] | None:
    """Return name and size of a regular file with a short name; None for any other header."""
    if header[156:157] not in REGULAR or header[257:262] != b"ustar" or header[345:346] != b"\0":
        return None
    try:
        checksum = int(header[148:156].strip(b" \0"), 8)
        size = int(header[124:136].strip(b" \0"), 8)
        name = header[:100].rstrip(b"\0").decode("utf-8")
    except ValueError:
        return None
    # The checksum counts its own eight bytes as spaces (8 x 32).
    if checksum != sum(header) - sum(header[148:156]) + 256:
        return None
    return name, size


def _slow_members(path: Path, start: int) -> Iterator[tuple[str, int, int]]:
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            if member.isreg() and member.offset >= start:
                if member.offset_data + member.size > path.stat().st_size:
                    raise tarfile.ReadError("unexpected end of data")
                yield member.name, member.offset_data, member.size


def is_safe_name(name: str) -> bool:
    """Return True if a member's or image's name stays inside its folder.

    >>> is_safe_name("00000/cat.jpg"), is_safe_name("../cat.jpg"), is_safe_name("/etc/cat.jpg")
    (True, False, False)
    """
    parts = name.replace("\\", "/").split("/")
    return parts[0] != "" and ".." not in parts and ":" not in parts[0]
