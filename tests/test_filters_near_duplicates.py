"""Near-duplicates: found through resizing, compression and light, and not among other images."""

import functools
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageEnhance

from align_edu.cli import main
from align_edu.filters import Rules, filter_pairs
from align_edu.filters.near_duplicates import (
    evaluation_hashes,
    evaluation_images,
    hash_images,
    nearest_distance,
    perceptual_hash,
)
from align_edu.io import InputError
from align_edu.world.draw import draw
from align_edu.world.scene import child_rng, sample_scene
from tests.tar_writer import write_tar

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"
MOST_BITS = Rules().max_distance
assert MOST_BITS is not None


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def toy_pictures(n: int, seed: int, size: int) -> list[Image.Image]:
    return [
        draw(sample_scene(child_rng(seed, 1, i)), child_rng(seed, 2, i), size) for i in range(n)
    ]


def real_photographs(n: int) -> list[Image.Image]:
    if not (REAL / "coco").exists():
        pytest.skip("../shared/real is missing")
    paths = sorted(p for name in ("coco", "recipes") for p in (REAL / name / "images").iterdir())
    return [Image.open(path).convert("RGB") for path in paths[:n]]


def cropped(image: Image.Image) -> bytes:
    """5 % off the width and the height."""
    dx, dy = image.width / 40, image.height / 40
    box = (round(dx), round(dy), round(image.width - dx), round(image.height - dy))
    return jpeg(image.crop(box))


@functools.cache
def originals(kind: str) -> tuple[list[Image.Image], np.ndarray]:
    """Toy drawings or real photographs, and their hashes."""
    images = toy_pictures(40, 3, 128) if kind == "toy" else real_photographs(210)
    return images, np.stack([perceptual_hash(jpeg(image)) for image in images])


EDITS: dict[str, Callable[[Image.Image], bytes]] = {
    "resize": lambda image: jpeg(image.resize((58, 58), Image.Resampling.BICUBIC)),
    "compress": lambda image: jpeg(image, quality=25),
    "brighten": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(1.2)),
    "crop": cropped,
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("pictures", ["toy", "real"])
def test_a_known_edit_of_an_evaluation_image_is_found(pictures: str, edit: str) -> None:
    images, before = originals(pictures)
    after = np.stack([perceptual_hash(EDITS[edit](image)) for image in images])
    assert (np.bitwise_count(before ^ after).sum(1) <= MOST_BITS).mean() >= 0.95


@pytest.mark.parametrize("pictures", ["toy", "real"])
def test_different_images_are_not_taken_for_duplicates(pictures: str) -> None:
    if pictures == "toy":
        hashes = np.stack([perceptual_hash(jpeg(p)) for p in toy_pictures(210, 11, 58)])
    else:
        hashes = originals(pictures)[1]
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(-1)  # (N, N)
    between = bits[np.triu_indices(len(hashes), 1)]
    assert len(between) > 20_000
    assert (between <= MOST_BITS).mean() <= 1e-4


def test_the_distance_is_the_smallest_number_of_different_bits() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (20, 32), np.uint8)
    others = rng.integers(0, 256, (30, 32), np.uint8)
    expected = [
        min(sum(bin(a ^ b).count("1") for a, b in zip(one, two)) for two in others.tolist())
        for one in hashes.tolist()
    ]
    assert nearest_distance(hashes, others).tolist() == expected


def test_hashing_on_two_processes_gives_the_same_as_on_one_and_marks_the_unreadable(
    tmp_path: Path,
) -> None:
    places = []
    for i, image in enumerate(toy_pictures(6, 5, 58) * 100):
        path = tmp_path / f"{i}.jpg"
        path.write_bytes(b"broken" if i == 7 else jpeg(image))
        places.append((path, 0, path.stat().st_size))
    one, two = (hash_images(places, workers) for workers in (1, 2))
    assert [i for i, found in enumerate(one) if isinstance(found, str)] == [7]
    assert one[7] == two[7] == "not an image"
    assert all(np.array_equal(one[i], two[i]) for i in range(len(places)) if i != 7)


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """One image. In raw/ beside it, pair 1 is a small copy of it, as is pair 2 by its sha256."""
    test_image, other = toy_pictures(2, 21, 128)
    (tmp_path / "evaluation" / "class").mkdir(parents=True)
    (tmp_path / "evaluation" / "class" / "a.jpg").write_bytes(jpeg(test_image))
    copy = jpeg(test_image.resize((58, 58)), 80)
    images = {"0": jpeg(other.resize((58, 58))), "1": copy, "2": copy, "3": b"broken"}
    text = "a red cat on a beach"
    members = [(f"{key}.jpg", data) for key, data in images.items()]
    members += [(f"{key}.txt", text.encode()) for key in images]
    write_tar(tmp_path / "raw" / "00000.tar", members)
    hashes = {"0": "zero", "1": "copy", "2": "copy", "3": "three", "4": "absent"}
    rows = [{"key": k, "caption": text, "sha256": v} for k, v in hashes.items()]
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "raw" / "00000.parquet")
    return tmp_path / "evaluation"


@pytest.mark.parametrize("source", ["raw", "raw/00000.parquet"])
def test_the_filter_drops_all_pairs_of_a_near_duplicate(
    tmp_path: Path, evaluation: Path, source: str
) -> None:
    funnel = filter_pairs(tmp_path / source, tmp_path / "kept", against=[evaluation])
    step = next(step for step in funnel.steps if step.rule == "near_duplicate")
    assert (step.applied, step.dropped) == (True, 2)
    assert step.note == "2 pairs without a readable image not checked"
    kept = pa.parquet.read_table(tmp_path / "kept" / "pairs.parquet")
    assert kept["key"].to_pylist() == ["0", "3", "4"]


def test_flat_pictures_have_no_hash_and_are_counted(
    tmp_path: Path, evaluation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    white, noisy = Image.new("RGB", (300, 200), "white"), Image.new("L", (90, 90), 200)
    noisy.putpixel((40, 40), 195)  # hardly visible
    (evaluation / "white.jpg").write_bytes(jpeg(white))
    flat = {"a": white.resize((80, 80)), "b": Image.new("RGB", (99, 99), "navy"), "c": noisy}
    one = jpeg(toy_pictures(1, 21, 128)[0], 60)  # the other evaluation image
    files = {key: jpeg(image) for key, image in flat.items()} | {"d": one, "e": b"broken"}
    texts = [(f"{key}.txt", f"a red cat on {key}".encode()) for key in files]
    write_tar(tmp_path / "flat.tar", [(f"{key}.jpg", data) for key, data in files.items()] + texts)
    command = ["filter", str(tmp_path / "flat.tar"), str(tmp_path / "out")]
    assert main([*command, "--against", str(evaluation)]) == 0
    note = (
        "1 pairs without a readable image not checked, 3 pairs with a flat image not checked, "
        "1 flat evaluation images not looked for"
    )
    assert note in capsys.readouterr().out
    assert pa.parquet.read_table(tmp_path / "out/pairs.parquet")["key"].to_pylist() == list("abce")
    (evaluation / "class" / "a.jpg").unlink()
    assert main([*command, "--against", str(evaluation)]) == 0  # only the white one is left
    assert pa.parquet.read_table(tmp_path / "out/pairs.parquet").num_rows == 5


def test_a_filter_output_can_be_filtered_again_against_an_evaluation_set(
    tmp_path: Path, evaluation: Path
) -> None:
    filter_pairs(tmp_path / "raw", tmp_path / "once")
    funnel = filter_pairs(tmp_path / "once", tmp_path / "twice", against=[evaluation])
    assert (funnel.raw, funnel.kept, funnel.source) == (5, 3, "../raw")


def test_pairs_without_images_cannot_be_compared(tmp_path: Path, evaluation: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("a red cat\thttp://x/1\n")
    with pytest.raises(InputError, match="only in shards"):
        filter_pairs(tmp_path / "pairs.tsv", tmp_path / "kept", against=[evaluation])
    assert not (tmp_path / "kept").exists()


def test_an_evaluation_set_is_a_folder_of_images_or_a_benchmark_s_test_split(
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match="no image"):
        evaluation_images(tmp_path)
    (tmp_path / "bad.jpg").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"bad\.jpg"):
        evaluation_hashes([tmp_path])
    (tmp_path / "bad.jpg").unlink()
    for name in ("b/2.PNG", "a/1.jpg", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert evaluation_images(tmp_path) == [tmp_path / "a/1.jpg", tmp_path / "b/2.PNG"]
    entry = '{"filename": "1.jpg", "filepath": "a", "split": "test", "sentences": [{"raw": "x"}]}'
    (tmp_path / "dataset_x.json").write_text(f'{{"images": [{entry}]}}')
    assert evaluation_images(tmp_path) == [tmp_path / "a/1.jpg"]
