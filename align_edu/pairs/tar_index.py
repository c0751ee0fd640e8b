"""Find the members of a tar file by reading its headers once, and group them by their key."""

import mmap
import tarfile
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path

BLOCK = 512
REGULAR = (b"0", b"\0")
KINDS = {"txt": "txt", "json": "json"} | dict.fromkeys(("jpg", "jpeg", "png", "webp"), "image")
Member = tuple[str, int, int]  # name, offset and size in bytes


def group_members(
    path: Path, skipped: Counter[str], keep: Container[str] | None = None
) -> dict[str, dict[str, Member]]:
    """Return key -> {"image", "txt" or "json" -> member} of a shard; count in `skipped` the rest.

    The key of a pair is the name of its members up to the first dot, folder included. If `keep`
    is given, only its keys are returned. Members before damage to the shard are returned.
    """
    pairs: dict[str, dict[str, Member]] = {}
    try:
        for member in tar_members(path):
            folder, slash, file = member[0].removeprefix("./").rpartition("/")
            stem, _, ending = file.partition(".")
            key, kind = folder + slash + stem, KINDS.get(ending.lower())
            if kind is None or (keep is not None and key not in keep):
                continue
            if not is_safe_name(member[0]):
                skipped["unsafe name"] += 1
            elif pairs.setdefault(key, {}).setdefault(kind, member) is not member:
                skipped["repeated key"] += 1
    except (tarfile.TarError, OSError):
        skipped["unreadable shard"] += 1
    return pairs


def tar_members(path: Path) -> Iterator[Member]:
    """List the files in an uncompressed tar as (name, offset, size in bytes), in order.

    Reads plain headers itself, ten times faster than `tarfile`, which takes over at the first
    header of another kind (long names, pax records, links). Raises tarfile.ReadError, after the
    members before the damage, if the file is no tar or ends in the middle of a member.
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
        size, checksum = (int(header[i:j].strip(b" \0"), 8) for i, j in ((124, 136), (148, 156)))
        name = header[:100].rstrip(b"\0").decode("utf-8")
    except ValueError:
        return None
    # The checksum counts its own eight bytes as spaces (8 x 32).
    return (name, size) if checksum == sum(header) - sum(header[148:156]) + 256 else None


def _slow_members(path: Path, start: int) -> Iterator[Member]:
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
