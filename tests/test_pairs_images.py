"""decode_image: pictures as the web has them, to RGB or to a reason; and finding them."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from align_edu.filters.image import evaluation_images
from align_edu.pairs import decode_image
from align_edu.pairs.images import BrokenImage, find_images
from tests.samples import POINTER, encoded, image_file, refused, write_files


def reason(data: bytes) -> str:
    with pytest.raises(BrokenImage) as error:
        decode_image(data)
    return str(error.value)


def noise_picture(size: tuple[int, int] = (64, 48)) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(values)


def half(form: str) -> bytes:
    return (data := encoded(noise_picture(), form))[: len(data) // 2]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty file"),
        (b"<html>404</html>", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image"),
        (half("JPEG"), "truncated"),
        (half("PNG"), "truncated"),
        (half("WEBP"), "broken data"),
        (encoded(Image.new("F", (2, 2)), "TIFF"), "unknown colours"),
        (POINTER, "a Git LFS pointer, not the file itself; run `git lfs pull` in its repository"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(data, expected):
    assert reason(data) == expected


@pytest.mark.filterwarnings("ignore:Image size")
def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    data = encoded(Image.new("1", (300, 300)), "PNG")
    assert Image.MAX_IMAGE_PIXELS is not None  # Pillow's limit is left on
    for limit in (50_000, 80_000):  # over twice the limit Pillow raises, below it only warns
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert reason(data) == "too many pixels"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90_000)
    assert decode_image(data).size == (300, 300)


def pixels(mode: str, values: list, palette: list[int] | None = None) -> Image.Image:
    picture = Image.new(mode, (len(values), 1))
    if palette:
        picture.putpalette(palette)
    picture.putdata(values)
    return picture


def grey(kind: type, *values: int) -> Image.Image:
    return Image.fromarray(np.array([values], kind))


FADING = pixels("RGBA", [(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 128)])
PALETTE = pixels("P", [0, 1], [255, 0, 0, 0, 0, 255])
FRAMES = {"save_all": True, "append_images": [Image.new("P", (1, 1), 1)]}
RED, BLUE, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
SHADES = [BLACK, (100, 100, 100), WHITE]
GREY = grey(np.uint16, 0, 25700, 65535)
LONG = PngImagePlugin.PngInfo()
LONG.add_text("prompt", "x" * 3_000_000, zip=True)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(pixels("RGB", [RED, BLUE]), "PNG", pnginfo=LONG), [RED, BLUE]),
        (encoded(FADING, "PNG"), [RED, WHITE, (127, 127, 127)]),
        (encoded(PALETTE, "PNG", transparency=1), [RED, WHITE]),
        (encoded(PALETTE, "GIF"), [RED, BLUE]),
        (encoded(PALETTE, "GIF", **FRAMES), [RED, BLUE]),
        (encoded(GREY, "PNG"), SHADES),
        (encoded(GREY, "PNG", transparency=25700), [BLACK, WHITE, WHITE]),
        (encoded(grey(np.int32, 0, 100, 255), "TIFF"), SHADES),
        (encoded(grey(np.int32, 0, 39215, 100_000), "TIFF"), [BLACK, (99, 99, 99), WHITE]),
    ],
)
def test_a_picture_is_shown_as_a_browser_would_on_white(data, expected):
    assert [tuple(pixel) for pixel in np.asarray(decode_image(data))[0].tolist()] == expected


def test_a_cmyk_jpeg_of_pure_red_is_red():
    red, green, blue = decode_image(image_file((0, 255, 255, 0), "CMYK")).getpixel((4, 4))
    assert red > 240 and green < 15 and blue < 15


@pytest.mark.parametrize(
    ("orientation", "corner"),
    # Where EXIF says that the stored top left corner is to be shown.
    list(enumerate([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (1, 0), (1, 1), (0, 1)], start=1)),
)
def test_the_picture_is_turned_as_exif_says(orientation, corner):
    picture = Image.new("RGB", (40, 20), "white")
    picture.paste("black", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(encoded(picture, "JPEG", exif=exif, quality=95))
    assert decoded.size == ((20, 40) if orientation > 4 else (40, 20))
    x, y = (length - 4 if far else 3 for length, far in zip(decoded.size, corner))
    assert decoded.getpixel((x, y))[0] < 40


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_block_does_not_lose_the_picture():
    broken = b"Exif\x00\x00II*\x00\xff\xff\xff\xff"
    assert decode_image(encoded(Image.new("RGB", (8, 8)), exif=broken)).size == (8, 8)


@pytest.mark.parametrize(
    ("form", "hint", "width"),
    [("JPEG", None, 640), ("JPEG", 100, 160), ("JPEG", 400, 640), ("PNG", 100, 640)],
)
def test_only_a_jpeg_is_decoded_smaller_and_never_below_the_hint(form, hint, width):
    assert decode_image(encoded(noise_picture((640, 480)), form), at_least=hint).width == width


def test_a_folder_of_pictures_is_read_whole_and_the_rest_is_counted(tmp_path):
    names = ("a/1.jfif", "a/2.avif", "3.JP2", ".hidden/4.jpg", "5.heic", "6.txt", "e/7.jpe")
    write_files(tmp_path / "in", dict.fromkeys(names, b""))
    (tmp_path / "in" / "e").rename(tmp_path / "elsewhere")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "back").symlink_to(tmp_path / "in")
    left_out = Counter[str]()
    names = [file.name for file in find_images(tmp_path / "in", left_out)]
    assert sorted(names) == ["1.jfif", "2.avif", "3.JP2", "7.jpe"]
    reasons = ("hidden", "folder linked twice", ".heic (convert to .jpg)", ".txt (no picture)")
    assert left_out == dict.fromkeys(reasons, 1)
    line = refused("a test set must be whole", evaluation_images, tmp_path / "in")
    assert "1 .heic (convert to .jpg)" in line
