"""Scenes of the toy world: what can be in them, how often, and what is held out."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hatchling.builders.wheel import WheelBuilder

from align_edu.io import InputError
from align_edu.world import catalog
from align_edu.world.outlines import artwork
from align_edu.world.scene import (
    HELD_OUT,
    Scene,
    Thing,
    child_rng,
    is_held_out,
    sample_scene,
    scene_facts,
    scene_from_facts,
)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    rng = np.random.default_rng(3)
    return [sample_scene(rng) for _ in range(20_000)]


def test_every_kind_has_an_artwork_of_longest_side_one_around_the_origin() -> None:
    for kind in catalog.KINDS:
        points = artwork(kind).points
        low, high = points.min(axis=0), points.max(axis=0)
        np.testing.assert_allclose(max(high - low), 1.0, atol=1e-6)
        np.testing.assert_allclose(low + high, 0.0, atol=1e-6)


def test_a_wheel_holds_the_data_files() -> None:
    root = Path(__file__).parents[1]
    shipped = {f.distribution_path for f in WheelBuilder(str(root)).recurse_included_files()}
    world = ("catalog.toml", "outlines.txt", "words.toml", "web.toml", "pictures.toml")
    assert {f"align_edu/world/{name}" for name in world} <= shipped
    assert "align_edu/planning/chips.toml" in shipped


def test_the_held_out_compositions_are_a_fixed_sixteenth_by_sha256() -> None:
    expected = {
        (kind, colour)
        for kind in catalog.KINDS
        for colour in catalog.COLOURS
        if int(hashlib.sha256(f"{kind}|{colour}".encode()).hexdigest()[:8], 16) % 16 == 0
    }
    assert expected == HELD_OUT
    assert len(HELD_OUT) == 26 and ("dog", "yellow") in HELD_OUT and ("dog", "red") not in HELD_OUT


def test_a_held_out_composition_counts_in_the_main_and_in_the_second_object() -> None:
    seen, unseen = Thing("dog", "red"), Thing("bus", "red")
    rest = ("medium", "beach", "clear", "photo")
    assert not is_held_out(Scene(seen, 1, *rest))
    assert is_held_out(Scene(unseen, 1, *rest))
    assert is_held_out(Scene(seen, 1, *rest, unseen, "above"))
    rng = np.random.default_rng(0)
    assert not any(is_held_out(sample_scene(rng)) for _ in range(2000))
    assert all(is_held_out(sample_scene(rng, held_out=True)) for _ in range(200))


def test_kinds_and_places_follow_zipfs_law_and_colours_have_a_mild_tail(
    scenes: list[Scene],
) -> None:
    kinds = Counter(scene.thing.kind for scene in scenes)
    ranks = np.log(np.arange(1, len(catalog.KINDS) + 1))
    slope, _ = np.polyfit(ranks, np.log([kinds[kind] for kind in catalog.KINDS]), 1)
    assert slope == pytest.approx(-catalog.KIND_EXPONENT, abs=0.12)
    colours = Counter(scene.thing.colour for scene in scenes)
    assert 1.5 < colours["red"] / colours["turquoise"] < 3.0
    # Of 16 ranks the last is seen 16 ** exponent times less often than the first.
    places = Counter(scene.place for scene in scenes)
    ratio = 16**catalog.PLACE_EXPONENT
    assert places["beach"] / places["space"] == pytest.approx(ratio, rel=0.15)


def test_as_many_scenes_as_promised_have_a_second_kind_of_object(scenes: list[Scene]) -> None:
    pairs = [scene for scene in scenes if scene.other is not None]
    zipf = np.arange(1, len(catalog.KINDS) + 1) ** -catalog.KIND_EXPONENT
    same = float(((zipf / zipf.sum()) ** 2).sum())  # two objects of one kind are drawn again
    rate = catalog.SECOND_OBJECT_RATE
    expected = rate * (1 - same) / (1 - rate * same)
    assert len(pairs) / len(scenes) == pytest.approx(expected, abs=0.02)
    for scene in pairs:
        assert scene.count == 1 and scene.relation in catalog.RELATIONS
        assert scene.other is not None and scene.other.kind != scene.thing.kind
    alone = [scene for scene in scenes if scene.other is None]
    assert all(scene.relation is None for scene in alone)
    counts = Counter(scene.count for scene in alone)
    assert counts[1] > counts[2] > counts[3] > counts[4] > 0


def test_weather_is_seen_only_outdoors_and_night_and_sunset_only_by_daylight(
    scenes: list[Scene],
) -> None:
    for scene in scenes:
        place = catalog.PLACES[scene.place]
        assert place.outdoor or scene.weather == "clear"
        assert place.daylight or scene.weather not in ("sunset", "night")
    bright = [scene for scene in scenes if catalog.PLACES[scene.place].daylight]
    clear = sum(scene.weather == "clear" for scene in bright) / len(bright)
    assert clear == pytest.approx(catalog.WEATHER["clear"], abs=0.02)


def test_facts_go_through_json_and_back(scenes: list[Scene]) -> None:
    for scene in scenes[:300]:
        assert scene_from_facts(json.loads(json.dumps(scene_facts(scene)))) == scene


@pytest.mark.parametrize(
    ("key", "value"),
    [("kind", "dragon"), ("colour", None), ("count", 9), ("place", "moon"), ("relation", "in")],
)
def test_a_value_outside_the_catalog_is_refused_with_its_key(key: str, value: object) -> None:
    scene = Scene(
        Thing("dog", "red"), 1, "small", "beach", "rain", "photo", Thing("cat", "blue"), "above"
    )
    with pytest.raises(InputError, match=f"key '{key}'"):
        scene_from_facts({**scene_facts(scene), key: value})


def test_child_generators_depend_on_every_part() -> None:
    first = [child_rng(*parts).random() for parts in ((0,), (0, 0), (0, 1), (1, 0), (0, 0, 0))]
    assert len(set(first)) == 5 and child_rng(4, 2).random() == child_rng(4, 2).random()
