"""Writes a clean retrieval benchmark: unique scenes, five captions each, Karpathy JSON, ratings."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from align_edu.io import InputError, folder_written_whole, holds_already, write_json
from align_edu.world.alt_text import full_captions, plain_words
from align_edu.world.draw import draw
from align_edu.world.edits import edited
from align_edu.world.pair import BENCHMARK_STREAM, jpeg_bytes
from align_edu.world.ratings import write_ratings
from align_edu.world.scene import (
    Scene,
    Thing,
    child_rng,
    is_held_out,
    sample_scene,
    scene_facts,
)
from align_edu.world.words import INVERSE_RELATIONS
from align_edu.world.write import check_seed

CAPTIONS_PER_SCENE = 5
HELD_OUT_SHARE = 0.15
JPEG_QUALITY = 92
RECORD = "dataset_toy.json"  # Karpathy's format
MOST_TRIES = 20_000  # for one more scene that no other is mistaken for
# The facts in which near twins differ. A twin that cannot differ in one tries the next.
TWIN_FACTS = ("object", "colour", "place", "count", "weather", "style")


def satisfies(scene: Scene, told: Scene) -> bool:
    """Whether a full caption of one scene is true of another, taken at its word.

    What the caption does not tell (the usual count, size, weather and style) may be anything.

    Parameters
    ----------
    scene : the scene that is looked at.
    told : the scene that the caption was written for.

    Returns
    -------
    bool

    >>> dog = Scene(Thing("dog", "red"), 1, "medium", "beach", "clear", "photo")
    >>> wet_dog = Scene(Thing("dog", "red"), 1, "medium", "beach", "rain", "photo")
    >>> satisfies(wet_dog, told=dog), satisfies(dog, told=wet_dog)
    (True, False)
    """
    around = (
        told.place == scene.place
        and told.weather in ("clear", scene.weather)
        and told.style in ("photo", scene.style)
    )
    if not around:
        return False
    same_size = told.size in ("medium", scene.size)
    same_main = told.thing == scene.thing and told.count in (1, scene.count) and same_size
    # A second object is one of unknown size, so "large" or "two" is not true of it.
    as_other = told.thing == scene.other and told.count == 1 and told.size == "medium"
    if told.other is None or told.relation is None:
        return same_main or as_other
    if same_main and told.other == scene.other and told.relation == scene.relation:
        return True
    turned = INVERSE_RELATIONS[told.relation] == scene.relation
    return as_other and told.other == scene.thing and turned


def _things_in_place(scene: Scene) -> Iterator[tuple[str, Thing]]:
    yield scene.place, scene.thing
    if scene.other is not None:
        yield scene.place, scene.other


def _unique_scenes(
    seed: int, n: int, train: int, twins: int
) -> Iterator[tuple[Scene, int | None, np.random.Generator]]:
    """Yield n + train scenes, none of which satisfies another's full caption, and generators.

    Each scene is followed by its near twins, which come with its number. The last ``train`` ones
    show no held-out composition.
    """
    near: dict[tuple[str, Thing], list[Scene]] = defaultdict(list)
    first: Scene | None = None
    for number in range(n + train):
        rng = child_rng(seed, BENCHMARK_STREAM, number)
        held_out = rng.random() < HELD_OUT_SHARE and number < n
        place = number % (twins + 1) if number < n else 0
        for tried in range(MOST_TRIES):
            twin = bool(place) and first is not None and tried < len(TWIN_FACTS) * 20
            if first is not None and twin:
                scene = _near_twin(TWIN_FACTS[(place - 1 + tried) % len(TWIN_FACTS)], first, rng)
                if scene is None:
                    continue
            else:
                scene = sample_scene(rng, held_out=held_out)
            rivals = [old for key in _things_in_place(scene) for old in near[key]]
            if not any(satisfies(old, scene) or satisfies(scene, old) for old in rivals):
                break
        else:
            raise InputError(
                f"scenes {n + train}: only {number} were found that no caption confuses;"
                " ask for fewer"
            )
        for key in _things_in_place(scene):
            near[key].append(scene)
        first = scene if place == 0 else first
        yield scene, number - place if twin else None, rng


def _near_twin(fact: str, scene: Scene, rng: np.random.Generator) -> Scene | None:
    """The scene with another value of one fact; None where that changes none, or others too."""
    twin = edited(fact, scene, rng)
    if twin is None:
        return None
    before, after = scene_facts(scene), scene_facts(twin)
    return twin if sum(before[name] != after[name] for name in before) == 1 else None


def _sentences(captions: list[str], image_id: int) -> list[dict[str, Any]]:
    first = image_id * CAPTIONS_PER_SCENE
    return [
        {
            "raw": text,
            "tokens": plain_words(text),
            "imgid": image_id,
            "sentid": first + i,
        }
        for i, text in enumerate(captions)
    ]


def _image_row(scene: Scene, captions: list[str], image_id: int, split: str) -> dict[str, Any]:
    sentences = _sentences(captions, image_id)
    return {
        "filename": f"{image_id:06d}.jpg",
        "imgid": image_id,
        "split": split,
        "sentids": [sentence["sentid"] for sentence in sentences],
        "sentences": sentences,
        "held_out": is_held_out(scene),
        "scene": scene_facts(scene),
    }


def _fill(folder: Path, made_with: dict[str, int], progress: bool) -> None:
    (folder / "images").mkdir(parents=True)
    rows, drawn = [], []
    tests, train = made_with["scenes"], made_with.get("train", 0)
    twins = made_with.get("twins", 0)
    scenes = _unique_scenes(made_with["seed"], tests, train, twins)
    bar = tqdm(scenes, "drawing the benchmark", tests + train, unit=" scenes", disable=not progress)
    for image_id, (scene, twin_of, rng) in enumerate(bar):
        split = "test" if image_id < tests else "train"
        row = _image_row(scene, full_captions(scene, rng, CAPTIONS_PER_SCENE), image_id, split)
        row |= {"twin_of": twin_of} if twins else {}
        jpeg = jpeg_bytes(draw(scene, rng, made_with["image_size"]), JPEG_QUALITY)
        (folder / "images" / row["filename"]).write_bytes(jpeg)
        rows.append(row)
        drawn.append(scene)
    names = [row["filename"] for row in rows[:tests]]
    write_ratings(folder / "cxc", names, drawn[:tests], made_with["seed"])
    record = {"images": rows, "dataset": "toy", "made_with": made_with}
    write_json(folder / RECORD, record)


def write_benchmark(
    out: Path,
    *,
    seed: int,
    scenes: int,
    image_size: int,
    train: int = 0,
    twins: int = 0,
    progress: bool = False,
) -> Path:
    """Write a benchmark in Karpathy's format: `dataset_toy.json` beside `images/` and `cxc/`.

    `cxc/` holds ratings as Crisscrossed Captions has them, see `align_edu.world.ratings`.

    Parameters
    ----------
    out : folder to write; it appears when all of it is there.
    seed : 0 to 4294967295; its random stream is never that of a world's shards.
    scenes : number of scenes. About 15 % show a composition that training never sees.
    image_size : pixels of each side of a picture.
    train : number of further scenes, the split "train", for fine-tuning; the test scenes are the
        same with and without them.
    twins : near twins after each scene: scenes that differ from it in one fact, so that recall at
        1 tells strong models apart. They count among ``scenes``.
    progress : whether to show a progress bar on standard error.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If an argument is out of range, the folder holds something else, the disk is full, or
        there are not so many scenes that can be told apart by their captions.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "benchmark"
    >>> _ = write_benchmark(folder, seed=0, scenes=3, image_size=64)
    >>> from align_edu.io import read_json
    >>> images = read_json(folder / "dataset_toy.json")["images"]
    >>> len(images), len(images[0]["sentences"])
    (3, 5)
    """
    check_seed(seed)
    if scenes < 1:
        raise InputError(f"scenes {scenes}: give at least 1")
    if train < 0:
        raise InputError(f"train {train}: give 0 or more scenes")
    if not 0 <= twins < scenes:
        raise InputError(f"twins {twins}: give 0 or more near twins of a scene, fewer than scenes")
    made_with = {"seed": seed, "scenes": scenes, "image_size": image_size}
    made_with |= {"train": train} if train else {}
    made_with |= {"twins": twins} if twins else {}
    if holds_already(out, out / RECORD, made_with):
        return out
    with folder_written_whole(out) as unfinished:
        _fill(unfinished, made_with, progress)
    return out
