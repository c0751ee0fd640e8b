"""Pictures from the web, decoded to RGB or refused with a reason."""

import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # no EPS, PDF: they run programs
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
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


def find_images(folder: Path) -> list[Path]:
    """Return the image files in a folder and its subfolders, in order, without hidden ones.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("b.png", "a.JPG", "._a.JPG", "notes.txt"):
    ...     (folder / name).touch()
    >>> [file.name for file in find_images(folder)]
    ['a.JPG', 'b.png']
    """
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    )


def decode_image(data: bytes, at_least: int | None = None) -> Image.Image:
    """Decode the bytes of an image file to RGB, as a browser would show it on white.

    Applies the EXIF orientation, lays transparency over white, converts CMYK, palette and
    16-bit pictures, and takes the first frame of an animation.

    data: the whole file (JPEG, PNG, WebP, GIF, BMP or TIFF). at_least: pixels; a JPEG may then be
    decoded at 1/2, 1/4 or 1/8 of its size, as long as both sides stay at least this long: faster
    for photographs, slightly different pixels. Raises BrokenImage with reason "empty file", "not
    an image", "too many pixels" (Pillow's limit against decompression bombs), "truncated",
    "broken data" or "unknown colours".

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
    if image.mode.startswith("I"):  # 16 bits: Pillow would clip at 255 where it should scale
        values = np.asarray(image).clip(0, 65535) // 257
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return image.convert("RGB")
