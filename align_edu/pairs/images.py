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

from align_edu.io import InputError

AVIF = ("AVIF",) if find_spec("PIL.AvifImagePlugin") else ()  # since Pillow 11.3
# No EPS, PDF: they run programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", *AVIF)
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".jp2", ".avif"),
)
OTHER_PICTURES = (".heic", ".heif", ".jxl", ".svg", ".psd", ".raw", ".dng", ".cr2", ".nef")
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # some programs store 1 MiB and more
# What Pillow's readers raise for broken data.
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError),
    *(ZeroDivisionError, struct.error, zlib.error),
)
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class BrokenImage(ValueError):
    """An image that cannot be used; `reason` is short and stable, so that it can be counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def find_images(folder: Path, left_out: Counter[str] | None = None) -> list[Path]:
    """Return the image files in a folder and its subfolders, linked ones too, in order.

    left_out: counts the files and folders that are not returned, by ending and reason.

    >>> import tempfile
    >>> folder, left_out = Path(tempfile.mkdtemp()), Counter()
    >>> for name in ("b.png", "a.JPG", "._a.JPG", "c.heic", "notes.txt"):
    ...     (folder / name).touch()
    >>> [file.name for file in find_images(folder, left_out)], sorted(left_out)
    (['a.JPG', 'b.png'], ['.heic (convert to .jpg)', '.txt (no picture)', 'hidden'])
    """
    found, seen, others = [], set(), Counter[str]()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder that was read
            others["folder linked twice"] += 1
            folders.clear()
            continue
        seen.add(real)
        others["hidden"] += sum(name.startswith(".") for name in folders + names)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if "images.json" in names:  # an index of ours, whose picture of hits is no photograph
            names = [name for name in names if name != "search.png"]
        for file in (Path(place, name) for name in names if not name.startswith(".")):
            suffix = file.suffix.lower()
            if suffix in SUFFIXES and file.is_file():
                found.append(file)
            elif suffix in SUFFIXES:
                others["broken link"] += 1
            else:
                reason = "convert to .jpg" if suffix in OTHER_PICTURES else "no picture"
                others[f"{suffix or 'without ending'} ({reason})"] += 1
    if left_out is not None:
        left_out.update(+others)
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
    """Decode the bytes of an image file to RGB, as a browser would show it on white.

    Applies the EXIF orientation, lays transparency over white, converts CMYK, palette and
    16-bit pictures, and takes the first frame of an animation.

    data: the whole file (see `FORMATS`). at_least: pixels; a JPEG may then be decoded at 1/2, 1/4
    or 1/8 of its size, as long as both sides stay at least this long: faster for photographs,
    slightly different pixels. Raises BrokenImage with reason "empty file", "not an image", "too
    many pixels" (Pillow's limit against decompression bombs), "truncated", "broken data" or
    "unknown colours".

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
            raise BrokenImage("too many pixels")
        if at_least is not None and image.format == "JPEG":
            image.draft(None, (at_least, at_least))
        image.load()
    except BrokenImage:
        raise
    except BOMBS:
        raise BrokenImage("too many pixels") from None
    except UnidentifiedImageError:
        raise BrokenImage("not an image") from None
    except UNREADABLE as error:
        cut = "truncated" in str(error) or "unrecognized data stream" in str(error)
        raise BrokenImage("truncated" if cut else "broken data") from None
    return _to_rgb(_upright(image))


def _upright(image: Image.Image) -> Image.Image:
    if image.format == "JPEG" and "exif" not in image.info:
        return image  # most files; Pillow's search for other places takes as long as decoding
    with suppress(*UNREADABLE):  # a broken EXIF block, a good picture
        ImageOps.exif_transpose(image, in_place=True)
    return image


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
