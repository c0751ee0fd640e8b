"""Shards for tests, written by the standard library's tarfile."""

import io
import tarfile
from pathlib import Path

from PIL import Image


def write_tar(
    path: Path, members: list[tuple[str, bytes]], form: int = tarfile.USTAR_FORMAT
) -> Path:
    """Write members as they are given, broken names and repeats included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def image_file(
    colour: object = "red", mode: str = "RGB", form: str = "JPEG", size: tuple[int, int] = (8, 8)
) -> bytes:
    """The bytes of a picture of one colour."""
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, form)
    return file.getvalue()
