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

from align_edu.io import InputError
from align_edu.world import World, catalog
from align_edu.world.alt_text import caption, full_captions
from align_edu.world.benchmark import write_ratings
from align_edu.world.draw import draw
from align_edu.world.planted import PLANTED_COLOURS, planted_colour, planted_scenes

from align_edu.world.scene import (  # isort: skip
    ATTRIBUTES, FACTS, HELD_OUT, Scene, Thing, child_rng, distractors, is_held_out, sample_edit,
    sample_scene, scene_facts, scene_from_facts,
)  # fmt: skip
from align_edu.world.tasks import TASKS
from align_edu.world.web_noise import NOISE, WorldSettings, make_pair

GOLDEN = tomllib.loads(Path(__file__).with_name("golden.toml").read_text("utf-8"))


def scenes_of_all_facts(n: int) -> list[Scene]:
    kinds, colours, places, weathers, styles, sizes, relations = (
        list(FACTS[name])
        for name in ("kind", "colour", "place", "weather", "style", "size", "relation")
    )
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


def texts_with_every_fact() -> Iterator[bytes]:
    for i, scene in enumerate(scenes_of_all_facts(500)):
        yield "\n".join(full_captions(scene, child_rng(18, i), n=3)).encode()


def noise_texts() -> Iterator[bytes]:
    for name, noise in NOISE.items():
        yield json.dumps([name, noise.share, noise.rules, noise.side]).encode()
        for i, scene in enumerate(scenes_of_all_facts(80)):
            if noise.text is not None:
                yield noise.text(scene, child_rng(20, i)).encode()


def edits() -> Iterator[bytes]:
    for attribute in ATTRIBUTES:
        for i in range(20):
            rng = child_rng(21, i)
            edit = sample_edit(attribute, rng)
            shown = [edit.before, edit.after, *distractors(edit, rng)]
            yield json.dumps([edit.minus, edit.plus, *map(scene_facts, shown)]).encode()


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


def ratings(folder: Path) -> Iterator[bytes]:
    write_ratings(folder / "cxc", [f"{i}.jpg" for i in range(60)], scenes_of_all_facts(60), seed=11)
    yield from files(folder / "cxc")


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
    "full captions": lambda folder: texts_with_every_fact(),
    "captions": lambda folder: captions("full", "most", "brief", "mixed"),
    "noise texts": lambda folder: noise_texts(),
    "edits": lambda folder: edits(),
    "pairs": lambda folder: noisy_pairs(),
    "ratings": ratings,
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


def test_facts_are_as_frequent_as_the_catalog_says(scenes):
    assert not any(map(is_held_out, scenes))
    kinds = Counter(scene.thing.kind for scene in scenes)
    ranks = np.arange(1, len(catalog.KINDS) + 1)
    slope, _ = np.polyfit(np.log(ranks), np.log([kinds[kind] for kind in catalog.KINDS]), 1)
    assert slope == pytest.approx(-catalog.KIND_EXPONENT, abs=0.12)
    colours = Counter(scene.thing.colour for scene in scenes)
    assert 1.5 < colours["red"] / colours["turquoise"] < 3.0
    # Of 16 ranks the last is seen 16 ** exponent times less often than the first.
    places = Counter(scene.place for scene in scenes)
    ratio = 16**catalog.PLACE_EXPONENT
    assert places["beach"] / places["space"] == pytest.approx(ratio, rel=0.15)
    pairs = [scene for scene in scenes if scene.other is not None]
    zipf, rate = ranks**-catalog.KIND_EXPONENT, catalog.SECOND_OBJECT_RATE
    same = float(((zipf / zipf.sum()) ** 2).sum())  # two objects of one kind are drawn again
    expected = rate * (1 - same) / (1 - rate * same)
    assert len(pairs) / len(scenes) == pytest.approx(expected, abs=0.02)
    counts = Counter(scene.count for scene in scenes if scene.other is None)
    assert counts[1] > counts[2] > counts[3] > counts[4] > 0
    bright = [scene for scene in scenes if catalog.PLACES[scene.place].daylight]
    clear = sum(scene.weather == "clear" for scene in bright) / len(bright)
    assert clear == pytest.approx(catalog.WEATHER["clear"], abs=0.02)


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


@pytest.mark.parametrize(
    ("key", "value"),
    [("kind", "dragon"), ("colour", None), ("count", 9), ("place", "moon"), ("relation", "in")],
)
def test_a_value_outside_the_catalog_is_refused_with_its_key(key, value):
    dog, cat = Thing("dog", "red"), Thing("cat", "blue")
    scene = Scene(dog, 1, "small", "beach", "rain", "photo", cat, "above")
    with pytest.raises(InputError, match=f"key '{key}'"):
        scene_from_facts({**scene_facts(scene), key: value})


PLAIN = Scene(Thing("apple", "red"), 1, "large", "desert", "clear", "poster")


def pixels(scene: Scene, seed: int = 0, size: int = 58) -> np.ndarray:
    return np.asarray(draw(scene, child_rng(seed), size), dtype=np.float64)


def coloured(scene: Scene, colour: str) -> Scene:
    return replace(scene, thing=Thing(scene.thing.kind, colour))


def object_mask(scene: Scene, seed: int = 0, size: int = 58) -> np.ndarray:
    """Where the picture changes when only the main object's colour changes, (size, size) bool."""
    red = pixels(coloured(scene, "red"), seed, size)
    blue = pixels(coloured(scene, "blue"), seed, size)
    return np.abs(red - blue).sum(axis=2) > 90


def components(mask: np.ndarray) -> int:
    """How many connected areas of at least 12 pixels the mask has."""
    areas, n = ndimage.label(mask, np.ones((3, 3)))
    return int((np.bincount(areas.ravel(), minlength=n + 1)[1:] >= 12).sum())


@pytest.mark.parametrize("kind", catalog.KINDS)
def test_the_colour_of_the_object_can_be_measured(kind):
    names, palette = list(catalog.COLOURS), np.array(list(catalog.COLOURS.values()), dtype=float)
    scene = replace(PLAIN, thing=Thing(kind, "red"), style="photo")
    mask = object_mask(scene)
    palette = 0.9 * palette + 14  # a photo has less contrast than the catalog's colours
    for colour in names:
        picture = pixels(coloured(scene, colour))
        assert picture.shape == (58, 58, 3)
        body = picture[mask]  # (n, 3)
        nearest = np.argmin(((body[:, None] - palette) ** 2).sum(axis=2), axis=1)
        votes = np.bincount(nearest, minlength=len(names))
        assert names[int(votes.argmax())] == colour


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("size", catalog.SIZES)
def test_the_count_is_the_number_of_separate_objects(count, size):
    for seed, kind in enumerate(("apple", "car", "cat", "house", "balloon", "shirt", "key")):
        scene = replace(PLAIN, thing=Thing(kind, "red"), count=count, size=size)
        assert components(object_mask(scene, seed, size=116)) == count


# One large object fills the picture: (0.82 / 0.69) ** 2 = 1.41 times a medium one's area.
@pytest.mark.parametrize(("count", "larger"), [(1, 1.35), (2, 1.5), (4, 1.5)])
def test_small_medium_and_large_are_clearly_apart(count, larger):
    area = {
        size: np.median(
            [object_mask(replace(PLAIN, count=count, size=size), i).sum() for i in range(7)]
        )
        for size in catalog.SIZES
    }
    assert area["large"] > larger * area["medium"]
    assert area["medium"] > 2.2 / 1.5 * area["small"]


@pytest.mark.parametrize("relation", catalog.RELATIONS)
@pytest.mark.parametrize("size", catalog.SIZES)
def test_the_relation_can_be_seen_from_the_centres(relation, size):
    cup, dog = Thing("cup", "green"), Thing("dog", "green")
    sides = set()
    for seed in range(12):
        scene = replace(PLAIN, thing=cup, size=size, other=dog, relation=relation)
        first = np.argwhere(object_mask(scene, seed)).mean(axis=0)  # y, x
        swapped = replace(scene, other=Thing("dog", "red"))
        changed = np.abs(pixels(scene, seed) - pixels(swapped, seed)).sum(axis=2) > 90
        down, right = first - np.argwhere(changed).mean(axis=0)
        if relation == "beside":
            assert abs(right) > 2 * abs(down)
            sides.add(right > 0)
        else:
            assert (down < 0) == (relation == "above")
            assert abs(down) > 2 * abs(right)
    assert sides in (set(), {True, False})  # beside on both sides: training flips pictures


def _mean_of(place: str, weather: str) -> np.ndarray:
    """The mean picture as (pixels, 3), without its middle, where the object stands."""
    scene = replace(PLAIN, size="small", place=place, weather=weather, style="photo")
    mean = np.mean([pixels(scene, seed) for seed in range(10)], axis=0)
    around = np.ones(mean.shape[:2], dtype=bool)
    around[10:-10, 10:-10] = False
    return mean[around]


@pytest.mark.parametrize("place", [n for n, place in catalog.PLACES.items() if place.daylight])
def test_weather_changes_the_light_as_it_should(place):
    clear = _mean_of(place, "clear")
    assert _mean_of(place, "rain").mean() < 1.02 * clear.mean()
    assert _mean_of(place, "night").mean() < 0.65 * clear.mean()
    assert _mean_of(place, "fog").std() < 0.75 * clear.std()
    white = [
        (pixels(replace(PLAIN, place="forest", weather=name)).min(axis=2) > 225).mean()
        for name in ("clear", "snowfall")
    ]
    assert white[1] > white[0] + 0.01  # flakes
    sunset, warmth = _mean_of(place, "sunset").mean(axis=0), clear.mean(axis=0)
    assert sunset[0] / sunset[2] > 1.25 * warmth[0] / warmth[2]


def test_styles_differ_in_their_frame_their_colours_and_their_grain():
    def look(style: str) -> tuple[float, float, float]:
        scene = replace(PLAIN, style=style)
        picture = np.mean([pixels(scene, seed) for seed in range(5)], axis=0)
        sky = pixels(scene, 0, 116)[6:16, 40:70].mean(axis=2)
        saturation = (picture.max(axis=2) - picture.min(axis=2)).mean()
        return picture[0].mean(), saturation, float(np.median(np.abs(np.diff(sky, axis=1))))

    photo, sketch, poster = look("photo"), look("sketch"), look("poster")
    assert poster[0] > 240 > max(photo[0], sketch[0])
    assert sketch[1] < photo[1] < poster[1]
    assert poster[2] < 0.5 * photo[2]


def test_places_can_be_told_apart_by_their_mean_look():
    """A nearest-mean classifier on 8 x 8 thumbnails, fitted on other drawings, knows the place."""

    def thumbnail(place: str, seed: int) -> np.ndarray:
        scene = replace(PLAIN, place=place, size="small", style="photo")
        return pixels(scene, seed)[1:57, 1:57].reshape(8, 7, 8, 7, 3).mean(axis=(1, 3)).ravel()

    places = list(catalog.PLACES)
    means = np.array([np.mean([thumbnail(p, s) for s in range(12)], axis=0) for p in places])
    seen = np.array([[thumbnail(p, s) for s in range(100, 106)] for p in places])  # (P, 6, 192)
    nearest = ((seen[:, :, None] - means) ** 2).sum(axis=3).argmin(axis=2)  # (P, 6)
    assert (nearest == np.arange(len(places))[:, None]).mean() > 0.8


if __name__ == "__main__":
    for made in MADE:
        with tempfile.TemporaryDirectory() as scratch:
            print(f'"{made}" = "{digest(made, Path(scratch))}"')
