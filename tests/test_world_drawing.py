"""Pictures of the toy world: what a scene says can be measured in its picture."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from align_edu.world import catalog
from align_edu.world.draw import draw
from align_edu.world.scene import Scene, Thing, child_rng, sample_scene

PLAIN = Scene(Thing("apple", "red"), 1, "large", "desert", "clear", "poster")


def pixels(scene: Scene, seed: int = 0, size: int = 58) -> np.ndarray:
    """The picture as (size, size, 3) floats."""
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


def test_a_picture_is_the_same_at_any_size():
    rng = np.random.default_rng(1)
    for seed in range(20):
        scene = sample_scene(rng)
        small = pixels(scene, seed, 58)
        large = pixels(scene, seed, 232).reshape(58, 4, 58, 4, 3).mean(axis=(1, 3))
        other = pixels(scene, seed + 1, 58)
        assert np.abs(small - large).mean() < 10  # grain and rounding
        assert np.abs(small - large).mean() < 0.6 * np.abs(small - other).mean()


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


def test_objects_of_usual_size_keep_clear_of_the_edge():
    for seed, kind in enumerate(catalog.KINDS):
        scene = replace(PLAIN, thing=Thing(kind, "red"), count=seed % 4 + 1)
        where = np.argwhere(object_mask(scene, seed))
        assert where.min() >= 2 and where.max() <= 55


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
    sunset, warmth = _mean_of(place, "sunset").mean(axis=0), clear.mean(axis=0)
    assert sunset[0] / sunset[2] > 1.25 * warmth[0] / warmth[2]


def test_snowfall_leaves_white_flakes_on_the_picture():
    forest = replace(PLAIN, place="forest")
    white = [
        (pixels(replace(forest, weather=weather)).min(axis=2) > 225).mean()
        for weather in ("clear", "snowfall")
    ]
    assert white[1] > white[0] + 0.01


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
