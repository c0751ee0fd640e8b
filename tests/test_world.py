"""The toy world makes the same bytes as ever, and a scene's facts can be measured in its picture.

After a change that is meant to alter pictures, captions or files, print the new hashes with
`python tests/test_world.py` and put them into golden.toml."""

import hashlib
import json
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from align_edu.world import World, catalog
from align_edu.world.alt_text import caption
from align_edu.world.draw import draw

from align_edu.world.scene import (  # isort: skip
    FACTS, HELD_OUT, PLANTED_COLOURS, Scene, Thing, child_rng, is_held_out, planted_colour,
    planted_scenes, sample_scene, scene_facts, scene_from_facts,
)  # fmt: skip
from align_edu.world.tasks import TASKS
from align_edu.world.web_noise import WorldSettings, make_pair
from tests.samples import refused

GOLDEN = tomllib.loads(Path(__file__).with_name("golden.toml").read_text("utf-8"))
PLAIN = Scene(Thing("apple", "red"), 1, "large", "desert", "clear", "poster")


def scenes_of_all_facts(n: int) -> list[Scene]:
    names = ("kind", "colour", "place", "weather", "style", "size", "relation")
    kinds, colours, places, weathers, styles, sizes, relations = (list(FACTS[x]) for x in names)
    found = []
    for i in range(n):
        place, weather = places[i % 16], weathers[i // 16 % 6]
        facts = catalog.PLACES[place]
        dark = weather in catalog.DAYLIGHT_WEATHER and not facts.daylight
        weather = weather if facts.outdoor and not dark else "clear"
        thing = Thing(kinds[i * 7 % 40], colours[i % 12])
        other, relation, count = None, None, 1 + i // 3 % 4
        if i % 4 == 0:
            other = Thing(kinds[(i * 7 + 1) % 40], colours[(i // 4 + 5) % 12])
            relation, count = relations[i // 4 % 3], 1
        style, size = styles[i // 5 % 3], sizes[i // 7 % 3]
        found.append(Scene(thing, count, size, place, weather, style, other, relation))
    return found


def drawings(size: int, n: int) -> Iterator[bytes]:
    for i, scene in enumerate(scenes_of_all_facts(n)):
        yield draw(scene, child_rng(17, i), size).tobytes()


def captions(*kinds: str) -> Iterator[bytes]:
    for i, scene in enumerate(scenes_of_all_facts(500)):
        for completeness in kinds:
            yield caption(scene, child_rng(19, i), completeness).encode()


def noisy_pairs() -> Iterator[bytes]:
    """Pairs of a world so large that it has popular images, nearly all of them noisy."""
    settings = WorldSettings(seed=4, noise=0.9, image_size=32, pairs=100_000, shard_size=5_000)
    for i in range(300):
        pair = make_pair(settings, 3, i)
        row = [pair.text, pair.noise, scene_facts(pair.scene), pair.original_size, pair.url]
        yield json.dumps(row).encode() + pair.jpeg


def files(folder: Path) -> Iterator[bytes]:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        yield str(path.relative_to(folder)).encode() + path.read_bytes()


def shards(folder: Path) -> Iterator[bytes]:
    near = World(seed=9).write_benchmark(folder / "near", scenes=8, image_size=58)
    world = World(seed=8, noise=0.5)
    yield from files(world.write(folder / "raw", 90, workers=1, shard_size=40, benchmark=near))


def benchmark(folder: Path) -> Iterator[bytes]:
    world = World(seed=10)
    yield from files(world.write_benchmark(folder / "b", 40, image_size=58, train=10, twins=3))


def tasks(folder: Path) -> Iterator[bytes]:
    sizes = {"train": 8, "val": 2, "test": 8, "image_size": 32}
    for task in TASKS:
        yield from files(World(seed=12).write_task(folder / task, task, **sizes))
    for task in ("object", "colour"):
        unseen = folder / f"unseen {task}"
        yield from files(World(seed=12).write_task(unseen, task, **sizes, held_out=True))


MADE: dict[str, Callable[[Path], Iterator[bytes]]] = {
    "drawings of 58 pixels": lambda folder: drawings(58, 288),
    "drawings of 256 pixels": lambda folder: drawings(256, 40),
    "captions": lambda folder: captions("full", "most", "brief", "mixed"),
    "pairs": lambda folder: noisy_pairs(),
    "shards": shards,
    "benchmark": benchmark,
    "tasks": tasks,
}


def digest(name: str, folder: Path) -> str:
    parts = (hashlib.sha256(part).digest() for part in MADE[name](folder))
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.parametrize("name", MADE)
def test_what_the_world_makes_is_byte_identical_to_what_it_made_before(name, tmp_path):
    assert digest(name, tmp_path) == GOLDEN[name]


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(3)
    return [sample_scene(rng) for _ in range(20_000)]


def test_a_sixteenth_of_the_compositions_is_held_out_by_sha256_in_either_object():
    expected = {
        (kind, colour)
        for kind in catalog.KINDS
        for colour in catalog.COLOURS
        if int(hashlib.sha256(f"{kind}|{colour}".encode()).hexdigest()[:8], 16) % 16 == 0
    }
    assert expected == HELD_OUT and len(HELD_OUT) == 26
    seen, unseen, rest = Thing("dog", "red"), Thing("bus", "red"), ("beach", "clear", "photo")
    assert not is_held_out(Scene(seen, 1, "medium", *rest))
    assert is_held_out(Scene(unseen, 1, "medium", *rest))
    assert is_held_out(Scene(seen, 1, "medium", *rest, unseen, "above"))
    rng = np.random.default_rng(0)
    assert all(is_held_out(sample_scene(rng, held_out=True)) for _ in range(200))


def test_kinds_are_as_frequent_as_the_catalog_says_and_none_is_held_out(scenes):
    assert not any(map(is_held_out, scenes))
    kinds = Counter(scene.thing.kind for scene in scenes)
    ranks = np.arange(1, len(catalog.KINDS) + 1)
    slope, _ = np.polyfit(np.log(ranks), np.log([kinds[kind] for kind in catalog.KINDS]), 1)
    assert slope == pytest.approx(-catalog.KIND_EXPONENT, abs=0.12)
    counts = Counter(scene.count for scene in scenes if scene.other is None)
    assert counts[1] > counts[2] > counts[3] > counts[4] > 0


def test_a_planted_colour_has_its_share_and_over_all_kinds_no_colour_is_more_frequent():
    things = [s.thing for s in planted_scenes(16_000, 0.75, np.random.default_rng(3), turn=5)]
    planted = [thing.colour == planted_colour(thing.kind, turn=5) for thing in things]
    assert np.mean(planted) == pytest.approx(0.75, abs=0.02)
    colours = Counter(thing.colour for thing in things)
    assert colours.keys() == set(PLANTED_COLOURS)
    assert all(n == pytest.approx(2_000, rel=0.08) for n in colours.values())
    rest = Counter(thing for thing, hit in zip(things, planted, strict=True) if not hit)
    assert len(rest) == 8 * 7 and min(rest.values()) > 40  # the other colours, all of them


def test_the_facts_of_a_scene_fit_each_other_and_go_through_json(scenes):
    for scene in scenes[:3_000]:
        place = catalog.PLACES[scene.place]
        assert place.outdoor or scene.weather == "clear"
        assert place.daylight or scene.weather not in ("sunset", "night")
        assert (scene.other is None) == (scene.relation is None)
        if scene.other is not None:
            assert scene.count == 1 and scene.other.kind != scene.thing.kind
        assert scene_from_facts(json.loads(json.dumps(scene_facts(scene)))) == scene


def test_a_value_outside_the_catalog_is_refused_with_its_key():
    dog, cat = Thing("dog", "red"), Thing("cat", "blue")
    facts = scene_facts(Scene(dog, 1, "small", "beach", "rain", "photo", cat, "above"))
    odd = {"kind": "dragon", "colour": None, "count": 9, "place": "moon", "relation": "in"}
    for key, value in odd.items():
        refused(f"key '{key}'", scene_from_facts, {**facts, key: value})


def pixels(scene: Scene, seed: int = 0, size: int = 58) -> np.ndarray:
    return np.asarray(draw(scene, child_rng(seed), size), dtype=np.float64)


def object_mask(scene: Scene, seed: int = 0, size: int = 58) -> np.ndarray:
    """Where the picture changes when only the main object's colour changes, (size, size) bool."""
    things = (Thing(scene.thing.kind, colour) for colour in ("red", "blue"))
    red, blue = (pixels(replace(scene, thing=thing), seed, size) for thing in things)
    return np.abs(red - blue).sum(axis=2) > 90


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("size", catalog.SIZES)
def test_the_count_is_the_number_of_separate_objects(count, size):
    for seed, kind in enumerate(("apple", "car", "cat", "house", "balloon", "shirt", "key")):
        scene = replace(PLAIN, thing=Thing(kind, "red"), count=count, size=size)
        areas, n = ndimage.label(object_mask(scene, seed, size=116), np.ones((3, 3)))
        assert (np.bincount(areas.ravel())[1:] >= 12).sum() == count  # of at least 12 pixels


@pytest.mark.parametrize("relation", catalog.RELATIONS)
@pytest.mark.parametrize("size", catalog.SIZES)
def test_the_relation_can_be_seen_from_the_centres(relation, size):
    cup, dog, sides = Thing("cup", "green"), Thing("dog", "green"), set()
    for seed in range(12):
        scene = replace(PLAIN, thing=cup, size=size, other=dog, relation=relation)
        first = np.argwhere(object_mask(scene, seed)).mean(axis=0)  # y, x
        swapped = replace(scene, other=Thing("dog", "red"))
        changed = np.abs(pixels(scene, seed) - pixels(swapped, seed)).sum(axis=2) > 90
        down, right = first - np.argwhere(changed).mean(axis=0)
        assert (abs(right) > abs(down)) == (relation == "beside")
        sides.add(right > 0 if relation == "beside" else down > 0)
    # Beside on both sides: training flips pictures.
    assert sides == {"beside": {True, False}, "above": {False}, "below": {True}}[relation]


if __name__ == "__main__":
    for made in MADE:
        with tempfile.TemporaryDirectory() as scratch:
            print(f'"{made}" = "{digest(made, Path(scratch))}"')
