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
from align_edu.world.scene import (
    HELD_OUT,
    Scene,
    Thing,
    is_held_out,
    sample_scene,
    scene_facts,
    scene_from_facts,
)  # fmt: skip  # isort: skip


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(3)
    return [sample_scene(rng) for _ in range(20_000)]


def test_a_wheel_holds_the_data_files():
    root = Path(__file__).parents[1]
    shipped = {f.distribution_path for f in WheelBuilder(str(root)).recurse_included_files()}
    world = ("catalog.toml", "outlines.txt", "words.toml", "web.toml", "pictures.toml")
    assert {
        *(f"align_edu/world/{name}" for name in world),
        "align_edu/planning/chips.toml",
    } <= shipped


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
