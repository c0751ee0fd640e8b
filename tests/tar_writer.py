"""Pictures and shards for tests, written by Pillow and the standard library's tarfile."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"  # real photographs and captions
Members = list[tuple[str, bytes]]


def write_tar(path: Path, members: Members, form: int = tarfile.USTAR_FORMAT) -> Path:
    """Write members as they are given, broken names and repeats included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def encoded(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """The bytes of a picture's file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def image_file(
    colour: object = "red", mode: str = "RGB", form: str = "JPEG", size: tuple[int, int] = (8, 8)
) -> bytes:
    """The bytes of a picture of one colour."""
    return encoded(Image.new(mode, size, colour), form)


def picture(seed: int) -> bytes:
    """The bytes of a picture with coarse random structure."""
    values = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return encoded(Image.fromarray(values).resize((300, 300)))


def pair(key: str, text: str = "a red cat", image: bytes | None = None) -> Members:
    """The picture and the text of a pair."""
    return [(f"{key}.jpg", image_file() if image is None else image), (f"{key}.txt", text.encode())]
