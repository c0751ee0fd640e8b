"""What the perceptual hash recognises: edits of images with known truth, at every distance.

Toy drawings, and photographs from a folder if one is given. For each edit, the share of edited
images within each distance of their original, and for pairs of different images the share taken
for duplicates. The default of `Rules.max_distance`, 66 bits, is chosen from this table: on toy
drawings | photographs it gives

    found: resized to 58 pixels, compressed to quality 20, half the colour    100 % | 100 %
           30 % lighter or darker, a watermark, turned by 2 degrees           100 % | 100 %
           cropped by 5 %; by 10 %                               100 %, 41 % | 96 %, 5 %
           a border of 5 %; cropped by 20 %, mirrored               32 %, 0 % | 0.5 %, 0 %
    different images taken for duplicates, per pair              1.8e-6 | 0 of 21,945

    python tests/benchmarks/near_duplicates.py [PHOTOGRAPHS ...]
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from align_edu.filters.image import perceptual_hash
from align_edu.pairs.images import decode_image, find_images
from align_edu.world.draw import draw
from align_edu.world.scene import child_rng, sample_scene
from tests.benchmarks.measure import options
from tests.samples import encoded

DISTANCES = (30, 40, 50, 58, 66, 70, 74, 80, 90)


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    """The image as the bytes of a JPEG."""
    return encoded(image.convert("RGB"), quality=quality)


def crop(share: float) -> Callable[[Image.Image], bytes]:
    """Take `share` off the width and the height, half of it on each side."""

    def edit(image: Image.Image) -> bytes:
        dx, dy = image.width * share / 2, image.height * share / 2
        box = (round(dx), round(dy), round(image.width - dx), round(image.height - dy))
        return jpeg(image.crop(box))

    return edit


def watermark(image: Image.Image) -> bytes:
    """Write across the lower part, half transparent."""
    layer = Image.new("RGBA", image.size)
    place, white = (image.width * 0.1, image.height * 0.8), (255, 255, 255, 150)
    ImageDraw.Draw(layer).text(place, "PHOTO STOCK", white, font_size=image.height / 8)
    return jpeg(Image.alpha_composite(image.convert("RGBA"), layer))


def border(image: Image.Image) -> bytes:
    """Add a white border of a twentieth of the longer side."""
    return jpeg(ImageOps.expand(image, max(1, max(image.size) // 20), "white"))


EDITS: dict[str, Callable[[Image.Image], bytes]] = {
    "resized to 58": lambda image: jpeg(image.resize((58, 58), Image.Resampling.BICUBIC)),
    "compressed to 20": lambda image: jpeg(image, 20),
    "30 % brighter": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(1.3)),
    "30 % darker": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(0.7)),
    "half the colour": lambda image: jpeg(ImageEnhance.Color(image).enhance(0.5)),
    "watermark": watermark,
    "turned by 2 degrees": lambda image: jpeg(image.rotate(2, Image.Resampling.BICUBIC)),
    "crop 5 %": crop(0.05),
    "crop 10 %": crop(0.10),
    "crop 20 %": crop(0.20),
    "border": border,
    "mirrored": lambda image: jpeg(ImageOps.mirror(image)),
}


def toy_drawings(count: int, seed: int, size: int) -> list[Image.Image]:
    """Drawings of random scenes."""
    return [
        draw(sample_scene(child_rng(seed, 1, i)), child_rng(seed, 2, i), size) for i in range(count)
    ]


def hashes_of(images: list[Image.Image], edit: Callable[[Image.Image], bytes]) -> np.ndarray:
    """The hash of each image in its edited form."""
    return np.stack([perceptual_hash(edit(image)) for image in images])


def bits_between(images: list[Image.Image]) -> np.ndarray:
    """Different bits of each two different images."""
    hashes = hashes_of(images, jpeg)
    pairs = [np.bitwise_count(hashes[i] ^ hashes[i + 1 :]).sum(axis=1) for i in range(len(hashes))]
    return np.concatenate(pairs)


if __name__ == "__main__":
    args = options(__doc__, photographs=Path, images=200, others=1_500)
    sets = {"toy": (toy_drawings(args.images, 3, 128), toy_drawings(args.others, 4, 58))}
    if args.photographs:
        files = [file for place in args.photographs for file in find_images(place, Counter())]
        sets["photographs"] = ([decode_image(file.read_bytes()) for file in files],) * 2
    for name, (images, others) in sets.items():
        print(f"{name}: {len(images)} images; found within so many bits of 256")
        print(f"{'':20}" + "".join(f"{d:>8}" for d in DISTANCES))
        for edit, act in EDITS.items():
            bits = np.bitwise_count(hashes_of(images, jpeg) ^ hashes_of(images, act)).sum(axis=1)
            print(f"{edit:20}" + "".join(f"{(bits <= d).mean():8.3f}" for d in DISTANCES))
        between = bits_between(others)
        shares = "".join(f"{(between <= d).mean():8.1e}" for d in DISTANCES)
        print(f"{'different images':20}{shares}")
        print(f"({len(between):,} pairs of different images)\n")
