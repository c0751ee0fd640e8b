"""The outlines of one kind made ready for drawing: centred, scaled to 1, with a rim."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import numpy as np

from align_edu.world import (
    catalog,
    outlines_animals,
    outlines_clothes,
    outlines_nature,
    outlines_things,
    outlines_vehicles,
)
from align_edu.world.shapes import Part, Points

SHARPEST_RIM = 1.6
BARE = ("string", "steam")  # too thin for a rim


@dataclass(frozen=True, slots=True)
class Artwork:
    """The parts of one kind of object, ready to be placed by one matrix product.

    Parameters
    ----------
    points : (n, 2) float32, corners of all parts; the longer side of their bounding box is 1
        and its centre is (0, 0).
    outward : (n, 2) float32, direction in which a corner moves to make the part fatter.
    shades : the shade of each part.
    ends : index into `points` where each part ends.
    rims : indices of the parts at the edge of the silhouette, which get a contrasting rim.
    half : half the width and half the height of the bounding box.
    """

    points: np.ndarray
    outward: np.ndarray
    shades: tuple[str, ...]
    ends: tuple[int, ...]
    rims: tuple[int, ...]
    half: tuple[float, float]


def _outward(points: Points) -> Points:
    """Mitred outward normals of a closed outline, (n, 2)."""
    x, y = points[:, 0], points[:, 1]
    area = np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)
    along = np.roll(points, -1, axis=0) - points
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    after = np.stack([along[:, 1], -along[:, 0]], axis=1) * (1.0 if area > 0 else -1.0)
    middle = after + np.roll(after, 1, axis=0)
    length = np.maximum(np.linalg.norm(middle, axis=1, keepdims=True), 1e-9)
    return middle / length * np.minimum(2.0 / length, SHARPEST_RIM)


def _inside(points: Points, outline: Points) -> np.ndarray:
    """Whether each point lies inside the outline, by the even-odd rule, (n,) bool."""
    x, y = points[:, :1], points[:, 1:]
    x0, y0 = outline[:, 0], outline[:, 1]
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    crosses = (y0 > y) != (y1 > y)
    rise = np.where(y1 == y0, 1e-12, y1 - y0)
    left = x < x0 + (y - y0) / rise * (x1 - x0)
    return np.sum(crosses & left, axis=1) % 2 == 1


def _rims(parts: list[Part]) -> tuple[int, ...]:
    found = []
    for i, (shade, points) in enumerate(parts):
        if shade in BARE:
            continue
        hidden = np.zeros(len(points), dtype=bool)
        for j, (_, outline) in enumerate(parts):
            if i != j:
                hidden |= _inside(points, outline)
        if not hidden.all():
            found.append(i)
    return tuple(found)


def _painters() -> dict[str, Callable[[], list[Part]]]:
    modules: list[ModuleType] = [
        outlines_animals,
        outlines_nature,
        outlines_vehicles,
        outlines_clothes,
        outlines_things,
    ]
    painters = {}
    for kind in catalog.KINDS:
        name = kind.replace(" ", "_")
        painters[kind] = next(vars(module)[name] for module in modules if name in vars(module))
    return painters


_PAINTERS = _painters()


@cache
def artwork(kind: str) -> Artwork:
    """The artwork of a kind, made on first use.

    Parameters
    ----------
    kind : a key of `catalog.KINDS`.

    Returns
    -------
    Artwork

    >>> max(artwork("dog").half)
    0.5
    """
    parts = _PAINTERS[kind]()
    points = np.concatenate([outline for _, outline in parts])
    low, high = points.min(axis=0), points.max(axis=0)
    longest = float((high - low).max())
    width, height = ((high - low) / longest / 2).tolist()
    return Artwork(
        points=((points - (low + high) / 2) / longest).astype(np.float32),
        outward=np.concatenate([_outward(outline) for _, outline in parts]).astype(np.float32),
        shades=tuple(shade for shade, _ in parts),
        ends=tuple(np.cumsum([len(outline) for _, outline in parts]).tolist()),
        rims=_rims(parts),
        half=(width, height),
    )
