"""Pictures from the web, decoded to RGB or refused with a reason."""

import io
import os
import struct
import zlib
from collections import Counter
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from align_edu.io import InputError, lfs_remedy

AVIF = ("AVIF",) if find_spec("PIL.AvifImagePlugin") else ()  # since Pillow 11.3
# No EPS, PDF: they run programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", *AVIF)
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".jp2",
    ".avif",
)  # fmt: skip
OTHER_PICTURES = (".heic", ".heif", ".jxl", ".svg", ".psd", ".raw", ".dng", ".cr2", ".nef")
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # some programs store 1 MiB and more
# What Pillow's readers raise for broken data.
UNREADABLE = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, ZeroDivisionError,
    RuntimeError, struct.error, zlib.error,
)  # fmt: skip


class BrokenImage(ValueError):
    """An image that cannot be used; its text is short and stable, so that it can be counted."""


def find_images(folder: Path, left_out: Counter[str]) -> list[Path]:
    """Return the image files in a folder and below, linked ones too, in order; count the others."""
    found, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder that was read
            left_out["folder linked twice"] += 1
            folders.clear()
            continue
        seen.add(real)
        hidden = [name for name in folders + names if name.startswith(".")]
        left_out.update(["hidden"] * len(hidden))
        folders[:] = sorted(set(folders).difference(hidden))
        if "images.json" in names:  # an index of ours, whose picture of hits is no photograph
            hidden.append("search.png")
        for file in (Path(place, name) for name in names if name not in hidden):
            suffix = file.suffix.lower()
            if suffix in SUFFIXES and file.is_file():
                found.append(file)
            elif suffix in SUFFIXES:
                left_out["broken link"] += 1
            else:
                reason = "convert to .jpg" if suffix in OTHER_PICTURES else "no picture"
                left_out[f"{suffix or 'without ending'} ({reason})"] += 1
    return sorted(found)


def find_every_image(folder: Path) -> list[Path]:
    """Return `find_images`; raise InputError if a picture of a test set would be left out."""
    left_out = Counter[str]()
    found = find_images(folder, left_out)
    missed = [f"{count} {name}" for name, count in left_out.items() if "convert" in name]
    if missed:
        raise InputError(f"{folder}: {', '.join(missed)}; a test set must be whole")
    return found


def decode_image(data: bytes, at_least: int | None = None) -> Image.Image:
    """Decode an image file to RGB as a browser would show it on white; of an animation, frame 1.

    data: the whole file (see `FORMATS`). at_least: pixels; a JPEG may then be decoded at 1/2, 1/4
    or 1/8 of its size, as long as both sides stay at least this long: faster for photographs,
    slightly different pixels. Raises BrokenImage with reason "empty file", "not an image", "too
    many pixels" (Pillow's limit against decompression bombs), "truncated", "broken data",
    "unknown colours" or "a Git LFS pointer …".

    >>> file = io.BytesIO()
    >>> Image.new("LA", (4, 2), (0, 0)).save(file, "PNG")   # wholly transparent
    >>> picture = decode_image(file.getvalue())
    >>> picture.mode, picture.size, picture.getpixel((0, 0))
    ('RGB', (4, 2), (255, 255, 255))
    """
    if not data:
        raise BrokenImage("empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        # Pillow only warns up to twice its limit; a training run should not decode such pictures.
        if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
            raise Image.DecompressionBombError
        if at_least is not None and image.format == "JPEG":
            image.draft(None, (at_least, at_least))
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BrokenImage("too many pixels") from None
    except UnidentifiedImageError:
        raise BrokenImage(lfs_remedy(data) or "not an image") from None
    except UNREADABLE as error:
        cut = "truncated" in str(error) or "unrecognized data stream" in str(error)
        raise BrokenImage("truncated" if cut else "broken data") from None
    # Most JPEGs have no EXIF block; Pillow's search for other places takes as long as decoding.
    if image.format != "JPEG" or "exif" in image.info:
        with suppress(*UNREADABLE):  # a broken EXIF block, a good picture
            ImageOps.exif_transpose(image, in_place=True)
    return _to_rgb(image)


def open_image(file: Path) -> Image.Image:
    """Return a picture that must be whole; raise InputError for a broken one."""
    try:
        return decode_image(file.read_bytes())
    except (BrokenImage, OSError) as error:
        reason = str(error) if isinstance(error, BrokenImage) else "unreadable file"
        message = f"{file}: not a readable image ({reason}); repair or replace it"
        raise InputError(message) from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise BrokenImage("unknown colours")  # floats have no agreed white
    if image.mode.startswith("I"):  # 16 or 32 bits: Pillow would clip at 255 where it should scale
        values = np.asarray(image).astype(np.int64).clip(0)
        # The file does not say what is white: the greatest value of as many bits as it uses.
        white = next((top for top in (255, 65535) if values.max() <= top), values.max())
        grey = (values * 255 // white).astype(np.uint8)
        grey[values == image.info.get("transparency", -1)] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return image.convert("RGB")
