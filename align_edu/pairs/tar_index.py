"""Find the members of a tar file by reading its headers once, and group them by their key."""

import mmap
import tarfile
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from align_edu.io import InputError, read_json
from align_edu.pairs.images import SUFFIXES

BLOCK = 512
REGULAR, NO_DATA = (b"0", b"\0", b"7"), (b"1", b"2", b"3", b"4", b"5", b"6")
KINDS = {"txt": "txt", "json": "json"} | {suffix[1:]: "image" for suffix in SUFFIXES}
Member = tuple[str, int, int]  # name, offset and size in bytes


def group_members(
    path: Path, skipped: Counter[str], keep: Container[str] | None = None
) -> dict[str, dict[str, Member]]:
    """Return key -> {"image", "txt" or "json" -> member} of a shard; count in `skipped` the rest.

    The key of a pair is the name of its members up to the first dot of the file, folder included;
    with the shard's name before it, it is unique. If `keep` is given, only its keys are returned.
    Pairs that a damaged or short shard lacks are counted by the name of the shard.
    """
    pairs: dict[str, dict[str, Member]] = {}
    images, damage = 0, ""
    try:
        for member in tar_members(path):
            folder, slash, file = member[0].removeprefix("./").rpartition("/")
            stem, _, ending = file.partition(".")
            kind = KINDS.get(ending) or KINDS.get(ending.lower())
            if kind is None:
                continue
            images += kind == "image"
            key = folder + slash + stem
            if keep is not None and key not in keep:
                continue
            if not is_safe_name(member[0]):
                skipped["unsafe name"] += 1
            elif pairs.setdefault(key, {}).setdefault(kind, member) is not member:
                skipped["repeated key"] += 1
    except (tarfile.TarError, ValueError, OSError) as error:
        damage = str(error)
    if lost := max(0, _written_pairs(path) - images):
        skipped[f"missing in {path.name}, which holds {images} of its {images + lost}"] += lost
    elif damage:
        skipped[f"end of a shard lost, with unknown pairs: {path.name} ({damage})"] += 1
    return pairs


def _written_pairs(shard: Path) -> int:
    """Return how many pairs a shard had, by the JSON or parquet beside it; 0 without them."""
    parquet = shard.with_suffix(".parquet")
    with suppress(InputError, KeyError, TypeError, ValueError):
        return int(read_json(shard.with_name(f"{shard.stem}_stats.json"))["successes"])
    with suppress(pa.ArrowException, OSError, UnicodeDecodeError):
        if "status" not in pa.parquet.read_schema(parquet).names:
            return int(pa.parquet.read_metadata(parquet).num_rows)
        status = pa.parquet.read_table(parquet, columns=["status"])["status"]
        return int(pa.compute.sum(pa.compute.equal(status, "success")).as_py() or 0)
    return 0


def tar_members(path: Path) -> Iterator[Member]:
    """List the files in an uncompressed tar as (name, offset, size in bytes), in order.

    Reads headers itself, ten times faster than `tarfile`; joined tars are read as one. Raises
    tarfile.TarError, after the members before the damage, if the file is no tar or has no end.
    """
    with path.open("rb") as file:
        length = file.seek(0, 2)
        if length == 0:
            raise tarfile.ReadError("empty file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as tar:
            at, ended, long = 0, False, dict[str, str]()
            while at + BLOCK <= length:
                header = tar[at : at + BLOCK]
                at += BLOCK
                ended = header[0] == 0 and not header.strip(b"\0")
                if ended:
                    continue
                kind, name, size = _plain_header(header) or _other_header(header)
                size = int(long.get("size", size))
                if kind in NO_DATA:
                    size = 0
                if at + size > length:
                    break
                if kind in REGULAR:
                    yield long.get("path", name), at, size
                    long = {}
                elif kind == b"x":
                    long |= _pax_records(tar[at : at + size])
                elif kind == b"L":
                    long["path"] = tar[at : at + size].rstrip(b"\0").decode("utf-8", "replace")
                elif kind != b"K":
                    long = {}
                at += -(-size // BLOCK) * BLOCK
    if not ended:
        raise tarfile.ReadError("unexpected end of data")


def _plain_header(header: bytes) -> tuple[bytes, str, int] | None:
    """Return kind, name and size of a file with a short name, or of a pax header; else None."""
    kind = header[156:157]
    if kind not in (b"0", b"x") or header[257:262] != b"ustar" or header[345:346] != b"\0":
        return None
    try:
        checksum = int(header[148:156].strip(b" \0"), 8)
        size = int(header[124:136].strip(b" \0"), 8)
    except ValueError:
        return None
    # The checksum counts its own eight bytes as spaces (8 x 32); zeros add nothing.
    if checksum != sum(header.translate(None, b"\0")) - sum(header[148:156]) + 256:
        return None
    return kind, header[:100].partition(b"\0")[0].decode("utf-8", "replace"), size


def _other_header(header: bytes) -> tuple[bytes, str, int]:
    info = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
    return info.type, info.name, info.size


def _pax_records(data: bytes) -> dict[str, str]:
    """Return the records `length name=value` of a pax header."""
    records = {}
    while data.strip(b"\0"):
        length = int(data.partition(b" ")[0])
        record = data[:length].partition(b" ")[2].removesuffix(b"\n")
        name, _, value = record.partition(b"=")
        records[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        data = data[length:] if length > 0 else b""
    return records


def whole_text(text: str) -> str:
    """Return a text in which a character without its second half (a lone surrogate) is replaced.

    >>> whole_text(f"a {chr(0xD83D)} cat").encode()
    b'a \\xef\\xbf\\xbd cat'
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def is_safe_name(name: str) -> bool:
    """Return True if a member's or image's name stays inside its folder.

    >>> is_safe_name("00000/cat.jpg"), is_safe_name("../cat.jpg"), is_safe_name("/etc/cat.jpg")
    (True, False, False)
    """
    parts = name.replace("\\", "/").split("/")
    return parts[0] != "" and ".." not in parts and ":" not in parts[0]
