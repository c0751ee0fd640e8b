"""A scene: the facts behind one picture and its alt-text, and how often each fact occurs."""

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from align_edu.io import InputError
from align_edu.world import catalog


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a scene: a key of `catalog.KINDS` and a key of `catalog.COLOURS`."""

    kind: str
    colour: str


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that is true of one picture; no left or right, because training flips pictures."""

    thing: Thing  # the main object
    count: int  # how many of it, 1 to 4; always 1 when there is another object
    size: str  # of the main object: "small", "medium" or "large"
    place: str  # a key of catalog.PLACES
    weather: str  # a key of catalog.WEATHER; always "clear" where the place is not outdoor
    style: str  # "photo", "sketch" or "poster"
    other: Thing | None = None  # the second object
    relation: str | None = None  # "above", "below" or "beside": thing is <relation> other

    @property
    def things(self) -> tuple[Thing, ...]:
        """The main object, and the second one if any."""
        return (self.thing,) if self.other is None else (self.thing, self.other)


class Wheel:
    """Picks one of several options in proportion to its frequency."""

    def __init__(self, frequencies: Mapping[Any, float]) -> None:
        self.options = list(frequencies)
        self.edges = list(accumulate(frequencies.values()))

    def pick(self, u: float) -> Any:
        """Return the option at position u of the wheel, 0 <= u < 1."""
        position = bisect_right(self.edges, u * self.edges[-1])
        return self.options[min(position, len(self.options) - 1)]


def _zipf_wheel(names: Mapping[str, object], exponent: float) -> Wheel:
    return Wheel(dict(zip(names, catalog.zipf_frequencies(len(names), exponent))))


_KINDS = _zipf_wheel(catalog.KINDS, catalog.KIND_EXPONENT)
_COLOURS = _zipf_wheel(catalog.COLOURS, catalog.COLOUR_EXPONENT)
_PLACES = _zipf_wheel(catalog.PLACES, catalog.PLACE_EXPONENT)
_WEATHER = Wheel(catalog.WEATHER)
_DARK_WEATHER = Wheel(
    {k: f for k, f in catalog.WEATHER.items() if k not in catalog.DAYLIGHT_WEATHER}
)
_SIZES = Wheel(catalog.SIZES)
_STYLES = Wheel(catalog.STYLES)
_COUNTS = Wheel(catalog.COUNTS)
_RELATIONS = Wheel(catalog.RELATIONS)


def _composition_is_held_out(kind: str, colour: str) -> bool:
    """Hold out one composition in sixteen, chosen by SHA-256 and so the same on every machine."""
    digest = hashlib.sha256(f"{kind}|{colour}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % catalog.HELD_OUT_ONE_IN == 0


HELD_OUT = frozenset(
    (kind, colour)
    for kind in catalog.KINDS
    for colour in catalog.COLOURS
    if _composition_is_held_out(kind, colour)
)


def is_held_out(scene: Scene) -> bool:
    """Return True if one of the objects has a composition (kind, colour) hidden from training.

    >>> is_held_out(Scene(Thing("dog", "red"), 1, "medium", "beach", "clear", "photo"))
    False
    """
    return any((thing.kind, thing.colour) in HELD_OUT for thing in scene.things)


def _any_scene(u: Sequence[float]) -> Scene:
    place = _PLACES.pick(u[0])
    facts = catalog.PLACES[place]
    if not facts.outdoor:
        weather = "clear"
    else:
        weather = (_WEATHER if facts.daylight else _DARK_WEATHER).pick(u[1])
    thing = Thing(_KINDS.pick(u[2]), _COLOURS.pick(u[3]))
    other, relation, count = None, None, _COUNTS.pick(u[4])
    if u[5] < catalog.SECOND_OBJECT_RATE:
        other = Thing(_KINDS.pick(u[6]), _COLOURS.pick(u[7]))
        relation, count = _RELATIONS.pick(u[8]), 1
    size, style = _SIZES.pick(u[9]), _STYLES.pick(u[10])
    return Scene(thing, count, size, place, weather, style, other, relation)


def sample_scene(rng: np.random.Generator, *, held_out: bool = False) -> Scene:
    """Draw a random scene, with or without a held-out composition, by the catalog's frequencies.

    Its second object, if any, is of another kind than the first.

    >>> scene = sample_scene(np.random.default_rng(0))
    >>> scene.thing.kind in catalog.KINDS, is_held_out(scene)
    (True, False)
    """
    while True:
        scene = _any_scene(rng.random(11).tolist())
        one_kind = scene.other is not None and scene.other.kind == scene.thing.kind
        if not one_kind and is_held_out(scene) == held_out:
            return scene


# The facts of a scene, and the values that each can have.
FACTS: dict[str, Mapping[Any, object]] = {
    "kind": catalog.KINDS,
    "colour": catalog.COLOURS,
    "count": catalog.COUNTS,
    "size": catalog.SIZES,
    "place": catalog.PLACES,
    "weather": catalog.WEATHER,
    "style": catalog.STYLES,
    "other_kind": catalog.KINDS,
    "other_colour": catalog.COLOURS,
    "relation": catalog.RELATIONS,
}


def scene_facts(scene: Scene) -> dict[str, str | int]:
    """Return the scene as a flat dictionary for JSON with the keys of `FACTS`.

    A missing second object, and its relation, are written as "".

    >>> scene_facts(Scene(Thing("dog", "red"), 2, "small", "beach", "rain", "photo"))["count"]
    2
    """
    other = scene.other or Thing("", "")
    around = (scene.count, scene.size, scene.place, scene.weather, scene.style)
    second = (other.kind, other.colour, scene.relation or "")
    return dict(zip(FACTS, (scene.thing.kind, scene.thing.colour, *around, *second)))


def scene_from_facts(facts: Mapping[str, Any]) -> Scene:
    """Build the scene that `scene_facts` described.

    Raises InputError if a value is missing or is not in the catalog.

    >>> scene = Scene(Thing("dog", "red"), 2, "small", "beach", "rain", "photo")
    >>> scene_from_facts(scene_facts(scene)) == scene
    True
    """

    def get(key: str) -> Any:
        value = facts.get(key)
        if value not in FACTS[key]:
            raise InputError(
                f"scene facts, key {key!r}: {value!r} is not in the catalog; "
                f"use one of: {', '.join(map(str, FACTS[key]))}"
            )
        return value

    other, relation = None, None
    if facts.get("other_kind"):
        other, relation = Thing(get("other_kind"), get("other_colour")), get("relation")
    around = {key: get(key) for key in ("count", "size", "place", "weather", "style")}
    return Scene(Thing(get("kind"), get("colour")), **around, other=other, relation=relation)


def child_rng(seed: int, *parts: int) -> np.random.Generator:
    """Return a generator for one part of the work, the same on whichever worker does that part.

    parts: non-negative integers that identify the part, for example a shard and a row.

    >>> child_rng(1, 2, 3).random() == child_rng(1, 2, 3).random() != child_rng(1, 2, 4).random()
    True
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=parts))
