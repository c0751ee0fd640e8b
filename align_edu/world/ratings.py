"""Ratings like those of Crisscrossed Captions, worked out from the scenes that are known."""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from align_edu.io import written_whole
from align_edu.world.pair import RATING_STREAM
from align_edu.world.scene import Scene, Thing, child_rng

HIGHEST = 5.0
SIMILAR, RANDOM = 3, 3  # other scenes that each one is rated against
_CAPTIONS = 5
# What each fact adds where two scenes agree on it; the objects add the rest of 5.
_WEIGHTS = {"place": 1.25, "weather": 0.4, "style": 0.4, "count": 0.25, "size": 0.2}
_OBJECTS = HIGHEST - sum(_WEIGHTS.values())
_KIND, _COLOUR = 0.7, 0.3  # of an object's part

Row = tuple[str, str, str, str]


def rate(a: Scene, b: Scene) -> float:
    """Return how alike two scenes are: 0 (nothing in common) to 5 (all facts).

    The objects give up to 2.5: each object its best counterpart, 0.7 for the kind and 0.3 for
    its colour, averaged over the objects of both. Place gives 1.25, weather and style 0.4 each,
    count 0.25, size 0.2.

    >>> cat = Scene(Thing("cat", "red"), 1, "medium", "beach", "clear", "photo")
    >>> dog = Scene(Thing("dog", "red"), 1, "medium", "beach", "clear", "photo")
    >>> rate(cat, cat), round(rate(cat, dog), 2)
    (5.0, 2.5)
    """
    score = sum(w for fact, w in _WEIGHTS.items() if getattr(a, fact) == getattr(b, fact))
    return score + _OBJECTS * _same_objects(_things(a), _things(b))


def write_ratings(folder: Path, names: Sequence[str], scenes: Sequence[Scene], seed: int) -> None:
    """Write sts_test.csv, sis_test.csv and sits_test.csv, in the form that CxC publishes.

    names: the image file of each scene; scene i has the captions with ``sentid`` 5 i to 5 i + 4.
    Each scene is rated against the three most similar others and three random ones; besides,
    captions of one image are rated against each other and against their image.
    """
    tables: dict[str, list[Row]] = {"sts": [], "sis": [], "sits": []}
    for i, others in enumerate(_neighbours(scenes, seed)):
        captions = [_caption(i, number) for number in range(_CAPTIONS)]
        for one, two in combinations(captions, 2):
            tables["sts"].append((one, two, "5.00", "c2c_cocaption"))
        for one in captions:
            tables["sits"].append((one, names[i], "5.00", "c2i_original"))
        for turn, (j, method) in enumerate(others):
            score = f"{rate(scenes[i], scenes[j]):.2f}"
            one, two = _caption(i, turn % _CAPTIONS), _caption(j, (turn + 1) % _CAPTIONS)
            tables["sts"].append((one, two, score, f"c2c_{method}"))
            tables["sis"].append((names[i], names[j], score, f"i2i_{method}"))
            tables["sits"].append((one, names[j], score, f"c2i_{method}"))
    columns = {"sts": ("caption1", "caption2"), "sis": ("image1", "image2")}
    for kind, rows in tables.items():
        header = (*columns.get(kind, ("caption", "image")), "agg_score", "sampling_method")
        _write(folder / f"{kind}_test.csv", [header, *rows])


def _things(scene: Scene) -> list[Thing]:
    return [scene.thing] if scene.other is None else [scene.thing, scene.other]


def _same_objects(a: Sequence[Thing], b: Sequence[Thing]) -> float:
    parts = [max(_same(x, y) for y in b) for x in a] + [max(_same(x, y) for x in a) for y in b]
    return sum(parts) / len(parts)


def _same(x: Thing, y: Thing) -> float:
    return (_KIND + _COLOUR * (x.colour == y.colour)) if x.kind == y.kind else 0.0


def _neighbours(scenes: Sequence[Scene], seed: int) -> Iterator[list[tuple[int, str]]]:
    """For each scene, the others that it is rated against, and how they were chosen."""
    facts = [[s.thing.kind, s.thing.colour, s.place, s.weather, s.style] for s in scenes]
    table = np.array(facts)  # (N, 5)
    weights = np.array([_OBJECTS * _KIND, _OBJECTS * _COLOUR, 1.25, 0.4, 0.4])
    for i in range(len(scenes)):
        rng = child_rng(seed, RATING_STREAM, i)
        alike = ((table == table[i]) * weights).sum(axis=1) + 1e-3 * rng.random(len(scenes))
        alike[i] = -1.0
        near = np.argsort(-alike)[: min(SIMILAR, len(scenes) - 1)].tolist()
        rest = [j for j in range(len(scenes)) if j != i and j not in near]
        far = rng.choice(rest, min(RANDOM, len(rest)), replace=False).tolist() if rest else []
        yield [(j, "similar") for j in near] + [(j, "random") for j in far]


def _caption(scene: int, number: int) -> str:
    return f"toy:sentid:{_CAPTIONS * scene + number}"


def _write(path: Path, rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    with written_whole(path) as beside:
        beside.write_text(text.getvalue(), encoding="utf-8")
