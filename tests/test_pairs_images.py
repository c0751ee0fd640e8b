"""decode_image: pictures as the web has them, to RGB or to a reason."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from align_edu.pairs import BrokenImage, decode_image
from tests.tar_writer import image_file

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def reason(data: bytes) -> str:
    with pytest.raises(BrokenImage) as error:
        decode_image(data)
    return error.value.reason


def noise_picture(size: tuple[int, int] = (64, 48)) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(values)


def test_an_opaque_png_comes_back_pixel_for_pixel() -> None:
    picture = noise_picture()
    assert np.array_equal(decode_image(encoded(picture, "PNG")), picture)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_file_cut_in_half_is_truncated(form: str) -> None:
    data = encoded(noise_picture(), form)
    assert reason(data[: len(data) // 2]) in ("truncated", "not an image", "broken data")
    if form == "JPEG":
        assert reason(data[: len(data) // 2]) == "truncated"


@pytest.mark.parametrize("data", [b"<html>404</html>", bytes(9), b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_image_says_so(data: bytes) -> None:
    assert reason(data) == "not an image"
    assert reason(b"") == "empty file"


def test_a_png_with_damaged_bytes_is_broken_or_shown_but_never_crashes() -> None:
    data = encoded(noise_picture(), "PNG")
    rng = np.random.default_rng(1)
    for _ in range(200):
        damaged = bytearray(data)
        for at in rng.integers(8, len(data), 5):
            damaged[at] ^= 255
        try:
            assert decode_image(bytes(damaged)).mode == "RGB"
        except BrokenImage as error:
            assert error.reason


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch) -> None:
    data = encoded(Image.new("1", (300, 300)), "PNG")
    assert Image.MAX_IMAGE_PIXELS is not None  # Pillow's limit is left on
    for limit in (50_000, 80_000):  # over twice the limit Pillow raises, below it only warns
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert reason(data) == "too many pixels"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90_000)
    assert decode_image(data).size == (300, 300)


def test_transparent_pixels_become_white_and_half_transparent_ones_half_white() -> None:
    picture = Image.new("RGBA", (3, 1))
    picture.putdata([(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 128)])
    decoded = decode_image(encoded(picture, "PNG"))
    assert decoded.getpixel((0, 0)) == (255, 0, 0)
    assert decoded.getpixel((1, 0)) == (255, 255, 255)
    assert decoded.getpixel((2, 0)) == (127, 127, 127)


def test_a_palette_keeps_its_colours_but_for_the_transparent_one() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    for form, options, blue in (
        ("PNG", {"transparency": 1}, (255, 255, 255)),
        ("GIF", {}, (0, 0, 255)),
    ):
        decoded = decode_image(encoded(picture, form, **options))
        assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), blue]


def test_a_cmyk_jpeg_of_pure_red_is_red() -> None:
    red, green, blue = decode_image(image_file((0, 255, 255, 0), "CMYK")).getpixel((4, 4))
    assert red > 240 and green < 15 and blue < 15


def test_sixteen_bits_of_grey_are_scaled_and_floats_are_refused() -> None:
    values = np.array([[0, 257 * 100, 65535]], np.uint16)
    decoded = decode_image(encoded(Image.fromarray(values), "PNG"))
    assert [decoded.getpixel((x, 0)) for x in range(3)] == [(0,) * 3, (100,) * 3, (255,) * 3]
    assert reason(encoded(Image.new("F", (2, 2)), "TIFF")) == "unknown colours"


@pytest.mark.parametrize(
    ("orientation", "corner"),
    # Where EXIF says that the stored top left corner is to be shown.
    list(enumerate([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (1, 0), (1, 1), (0, 1)], start=1)),
)
def test_the_picture_is_turned_as_exif_says(orientation: int, corner: tuple[int, int]) -> None:
    picture = Image.new("RGB", (40, 20), "white")
    picture.paste("black", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(encoded(picture, "JPEG", exif=exif, quality=95))
    assert decoded.size == ((20, 40) if orientation > 4 else (40, 20))
    right, bottom = decoded.width - 4, decoded.height - 4
    x, y = (right if corner[0] else 3), (bottom if corner[1] else 3)
    assert decoded.getpixel((x, y))[0] < 40


def test_a_broken_exif_block_does_not_lose_the_picture() -> None:
    data = encoded(
        Image.new("RGB", (8, 8), "blue"), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff"
    )
    assert decode_image(data).size == (8, 8)


def test_only_a_jpeg_with_a_size_hint_is_decoded_smaller_and_never_below_the_hint() -> None:
    picture = noise_picture((640, 480))
    jpeg, png = encoded(picture, "JPEG"), encoded(picture, "PNG")
    assert decode_image(jpeg).size == (640, 480)
    assert decode_image(jpeg, at_least=100).size == (160, 120)
    assert decode_image(jpeg, at_least=400).size == (640, 480)
    assert decode_image(png, at_least=100).size == (640, 480)


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(data).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.skipif(not (REAL / "emoji").exists(), reason="../shared/real is missing")
def test_real_pictures_with_transparency_show_on_white() -> None:
    for path in sorted((REAL / "emoji" / "images").glob("*.png"))[:50]:
        decoded = decode_image(path.read_bytes())
        alpha = np.asarray(Image.open(path).convert("RGBA"))[..., 3]
        assert decoded.mode == "RGB"
        assert (np.asarray(decoded)[alpha == 0] == 255).all()
