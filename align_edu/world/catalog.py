"""What the toy world holds, how often, what it is called and what it looks like, from data files.

Kinds, colours and places follow Zipf's law in their order: web data is long-tailed. TOML files have
the words; outlines.txt has the outline of each kind, which `artwork` makes ready for drawing.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
Colour = tuple[int, int, int]
Hues = dict[str, Any]  # names of colours, or of several to choose from
Phrases = dict[str, tuple[str, ...]]
Points = np.ndarray  # (n, 2) float: x to the right and y downwards
Part = tuple[str, Points]  # a shade, after a minus if it has no rim, and the outline that it fills
STEPS = 5  # points between two corners of a smooth line
SHARPEST_RIM = 1.6


@dataclass(frozen=True, slots=True)
class Place:
    """A place where a scene happens."""

    outdoor: bool  # shows weather; otherwise it is always "clear"
    daylight: bool  # can turn to "sunset" or "night"


def _read(name: str) -> dict[str, Any]:
    """Read a TOML file of this folder, with its lists as tuples."""
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    return {key: _frozen(value) for key, value in tomllib.loads(text).items()}


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _frozen(inner) for key, inner in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


_CATALOG = _read("catalog.toml")
WORDS = _read("words.toml")
WEB = _read("web.toml")
PICTURES = _read("pictures.toml")

KIND_EXPONENT, COLOUR_EXPONENT, PLACE_EXPONENT = _CATALOG["exponents"].values()
SECOND_OBJECT_RATE, HELD_OUT_ONE_IN = _CATALOG["rates"].values()
_FAMILIES = {name: family for family, names in WORDS["families"].items() for name in names}
# Each kind of object, and the family that it belongs to, such as "animal".
KINDS: dict[str, str] = {name: _FAMILIES[name] for name in WORDS["nouns"]}
COLOURS: dict[str, Colour] = PICTURES["objects"]
PLACES: dict[str, Place] = {n: Place(**facts) for n, facts in _CATALOG["places"].items()}
WEATHER: dict[str, float] = _CATALOG["weather"]
DAYLIGHT_WEATHER = ("sunset", "night")
SIZES: dict[str, float] = _CATALOG["sizes"]
STYLES: dict[str, float] = _CATALOG["styles"]
COUNTS: dict[int, float] = {int(n): rate for n, rate in _CATALOG["counts"].items()}
RELATIONS: dict[str, float] = _CATALOG["relations"]
INVERSE_RELATIONS = {"above": "below", "below": "above", "beside": "beside"}

# The names of each kind as (one, several).
NOUNS: dict[str, tuple[tuple[str, ...], ...]] = {
    kind: tuple(tuple(name.split("/")) for name in names) for kind, names in WORDS["nouns"].items()
}
COLOUR_WORDS: Phrases = WORDS["colours"]
COUNT_WORDS: dict[int, tuple[str, ...]] = {int(n): each for n, each in WORDS["counts"].items()}
PLACE_PHRASES: Phrases = WORDS["places"]
WEATHER_PHRASES: Phrases = WORDS["weather"]
MAIN_WORD_SHARE = 0.85


def one_of(options: Sequence[T], rng: np.random.Generator) -> T:
    """Pick one of the options, all equally likely."""
    return options[int(rng.random() * len(options))]


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Pick the first option most of the time (`MAIN_WORD_SHARE`), else one of the others."""
    u = rng.random()
    if u < MAIN_WORD_SHARE or len(options) == 1:
        return options[0]
    return options[1 + int((u - MAIN_WORD_SHARE) / (1 - MAIN_WORD_SHARE) * (len(options) - 1))]


def with_article(words: str) -> str:
    """Put "a" or "an" before words, by their first letter: none here has a silent h."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


@dataclass(frozen=True, slots=True)
class Artwork:
    """The parts of one kind of object, around (0, 0); the longer side of their box is 1."""

    points: np.ndarray  # (n, 2) float32, the corners of all parts
    outward: np.ndarray  # (n, 2) float32, direction in which a corner moves to fatten the part
    shades: tuple[str, ...]  # of each part
    ends: tuple[int, ...]  # index into `points` where each part ends
    rims: tuple[int, ...]  # parts at the edge of the silhouette, which get a contrasting rim
    half: tuple[float, float]  # half the width and half the height of the bounding box


@cache
def artwork(kind: str) -> Artwork:
    """Return the artwork of a kind, a key of `catalog.KINDS`."""
    parts = [part for line in _blocks()[kind] for part in _parts(line)]
    points = np.concatenate([outline for _, outline in parts])
    low, high = points.min(axis=0), points.max(axis=0)
    longest = (high - low).max()
    width, height = ((high - low) / longest / 2).tolist()
    return Artwork(
        points=((points - (low + high) / 2) / longest).astype(np.float32),
        outward=np.concatenate([_outward(outline) for _, outline in parts]).astype(np.float32),
        shades=tuple(shade.removeprefix("-") for shade, _ in parts),
        ends=tuple(np.cumsum([len(outline) for _, outline in parts]).tolist()),
        rims=tuple(i for i, (shade, _) in enumerate(parts) if shade[0] != "-"),
        half=(width, height),
    )


@cache
def _blocks() -> dict[str, list[str]]:
    """The lines of outlines.txt that draw each kind."""
    text = Path(__file__).with_name("outlines.txt").read_text(encoding="utf-8")
    blocks = [block.splitlines() for block in text.split("\n\n") if not block.startswith("#")]
    return {first.partition(":")[0]: lines for first, *lines in blocks}


def _parts(line: str) -> list[Part]:
    """Read one line of outlines.txt: a part, and its mirror image after an asterisk."""
    shade, form, *words = line.split()
    points, name = _outline(form, words), shade.removesuffix("*")
    return [(name, points)] + ([(name, points * (-1.0, 1.0))] if shade != name else [])


def _outline(form: str, words: list[str]) -> Points:
    if form == "oval":
        centre, radii = _corners(words[:1]), _hundredths(words[1])
        tilt = np.radians(float(*words[2:]))
        turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
        return _arc(0.0, 0.0, radii[0], radii[-1], 0.0, 340.0, 18) @ turn + centre
    if form == "box":
        return _box(*(n for word in words for n in _hundredths(word)))
    if form in ("poly", "blob"):
        corners = _corners(words)
        return corners if form == "poly" else _spline(corners, closed=True)
    width, _, end = words[0].partition(">")
    line = _corners(words[1:])
    path = _spline(line, closed=False) if form == "curve" else line
    return _thick(path, float(width) / 100, float(end or width) / 100)


def _hundredths(word: str) -> list[float]:
    return [float(number) / 100 for number in word.split(",")]


def _corners(words: list[str]) -> Points:
    """The corners that these words name, one point each or those of an arc: (n, 2)."""
    found = []
    for word in words:
        name, _, text = word.rpartition(":")
        if name == "arc":
            x, y, rx, ry, *_ = _hundredths(text)
            start, end, n = map(float, text.split(",")[4:])
            found.append(_arc(x, y, rx, ry, start, end, int(n)))
        else:
            found.append(np.array([_hundredths(text)]))
    return np.concatenate(found)


def _arc(x: float, y: float, rx: float, ry: float, start: float, end: float, n: int) -> Points:
    """Points on an ellipse from one angle to another, (n, 2); 0 is right, 90 is down."""
    angles = np.radians(np.linspace(start, end, n))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def _box(x0: float, y0: float, x1: float, y1: float, r: float = 0.0) -> Points:
    if not r:
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    centres = ((x1 - r, y1 - r), (x0 + r, y1 - r), (x0 + r, y0 + r), (x1 - r, y0 + r))
    arcs = [_arc(*c, r, r, 90 * k, 90 * k + 90, 4) for k, c in enumerate(centres)]
    return np.concatenate(arcs)


def _spline(corners: Points, closed: bool) -> Points:
    """Catmull-Rom spline through the corners, sampled STEPS times between each two."""
    before, after = (corners[-1:], corners[:2]) if closed else (corners[:1], corners[-1:])
    padded = np.concatenate([before, corners, after])
    t = (np.arange(STEPS) / STEPS)[None, :, None]  # (1, STEPS, 1)
    a, b, c, d = (padded[k : len(padded) - 3 + k, None, :] for k in range(4))  # (m, 1, 2)
    bend = 2 * a - 5 * b + 4 * c - d + t * (3 * b - a - 3 * c + d)
    curve = (b + 0.5 * t * (c - a + t * bend)).reshape(-1, 2)  # (m * STEPS, 2)
    return curve if closed else np.concatenate([curve, corners[-1:]])


def _thick(line: Points, width: float, end_width: float) -> Points:
    """The outline of a thick line along a path."""
    along = np.gradient(line, axis=0)
    across = _unit(np.stack([-along[:, 1], along[:, 0]], axis=1))
    widths = np.linspace(width, end_width, len(line))[:, None]
    return np.concatenate([line + across * widths / 2, (line - across * widths / 2)[::-1]])


def _outward(points: Points) -> Points:
    """Mitred outward normals of a closed outline, (n, 2)."""
    x, y = points.T
    area = np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)
    along = _unit(np.roll(points, -1, axis=0) - points)
    after = np.stack([along[:, 1], -along[:, 0]], axis=1) * (1.0 if area > 0 else -1.0)
    middle = after + np.roll(after, 1, axis=0)
    length = np.maximum(np.linalg.norm(middle, axis=1, keepdims=True), 1e-9)
    return _unit(middle) * np.minimum(2.0 / length, SHARPEST_RIM)


def _unit(vectors: Points) -> Points:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
