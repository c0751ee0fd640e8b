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
    """One object of a scene.

    Parameters
    ----------
    kind : a key of `catalog.KINDS`.
    colour : a key of `catalog.COLOURS`.
    """

    kind: str
    colour: str


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that is true of one picture.

    Parameters
    ----------
    thing : the main object.
    count : how many of it, 1 to 4; always 1 when there is an `other`.
    size : "small", "medium" or "large": the size of `thing`.
    place : a key of `catalog.PLACES`.
    weather : a key of `catalog.WEATHER`; always "clear" where the place is not outdoor.
    style : "photo", "sketch" or "poster".
    other : the second object, or None.
    relation : "above", "below" or "beside": thing is <relation> other; None without `other`.
        There is no left or right: the training recipe flips pictures.
    """

    thing: Thing
    count: int
    size: str
    place: str
    weather: str
    style: str
    other: Thing | None = None
    relation: str | None = None


class _Wheel:
    """Picks one of several options in proportion to its frequency."""

    def __init__(self, options: Sequence[Any], frequencies: Sequence[float]) -> None:
        self.options = list(options)
        self.edges = list(accumulate(frequencies))
        self.total = self.edges[-1]

    def pick(self, u: float) -> Any:
        """The option at position u, 0 <= u < 1, of the wheel."""
        where = bisect_right(self.edges, u * self.total)
        return self.options[min(where, len(self.options) - 1)]


def _zipf_wheel(names: Mapping[str, object], exponent: float) -> _Wheel:
    return _Wheel(list(names), catalog.zipf_frequencies(len(names), exponent))


def _wheel(frequencies: Mapping[Any, float]) -> _Wheel:
    return _Wheel(list(frequencies), list(frequencies.values()))


_KINDS = _zipf_wheel(catalog.KINDS, catalog.KIND_EXPONENT)
_COLOURS = _zipf_wheel(catalog.COLOURS, catalog.COLOUR_EXPONENT)
_PLACES = _zipf_wheel(catalog.PLACES, catalog.PLACE_EXPONENT)
_WEATHER = _wheel(catalog.WEATHER)
_DARK_WEATHER = _wheel(
    {k: f for k, f in catalog.WEATHER.items() if k not in catalog.DAYLIGHT_WEATHER}
)
_SIZES = _wheel(catalog.SIZES)
_STYLES = _wheel(catalog.STYLES)
_COUNTS = _wheel(catalog.COUNTS)
_RELATIONS = _wheel(catalog.RELATIONS)


def composition_is_held_out(kind: str, colour: str) -> bool:
    """Whether training never shows this kind in this colour.

    About one composition in `catalog.HELD_OUT_ONE_IN` is held out, chosen by the first four
    bytes of the SHA-256 of "kind|colour", so the choice is the same for ever and everywhere.

    Parameters
    ----------
    kind, colour : names in the catalog.

    Returns
    -------
    bool

    >>> composition_is_held_out("dog", "red")
    False
    """
    digest = hashlib.sha256(f"{kind}|{colour}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % catalog.HELD_OUT_ONE_IN == 0


HELD_OUT = frozenset(
    (kind, colour)
    for kind in catalog.KINDS
    for colour in catalog.COLOURS
    if composition_is_held_out(kind, colour)
)


def is_held_out(scene: Scene) -> bool:
    """Whether the scene shows a composition (kind, colour) that training never sees.

    Parameters
    ----------
    scene : the scene; its main and its second object count.

    Returns
    -------
    bool

    >>> is_held_out(Scene(Thing("dog", "red"), 1, "medium", "beach", "clear", "photo"))
    False
    """
    things = [scene.thing] if scene.other is None else [scene.thing, scene.other]
    return any((thing.kind, thing.colour) in HELD_OUT for thing in things)


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
    """Draw a random scene with the frequencies of the catalog.

    Parameters
    ----------
    rng : the source of randomness.
    held_out : False gives only scenes without a held-out composition, True only scenes
        with one.

    Returns
    -------
    Scene
        The second object, where there is one, is of another kind than the first.

    >>> scene = sample_scene(np.random.default_rng(0))
    >>> scene.thing.kind in catalog.KINDS, is_held_out(scene)
    (True, False)
    """
    while True:
        scene = _any_scene(rng.random(11).tolist())
        one_kind = scene.other is not None and scene.other.kind == scene.thing.kind
        if not one_kind and is_held_out(scene) == held_out:
            return scene


def scene_facts(scene: Scene) -> dict[str, str | int]:
    """The scene as a flat dictionary that JSON can hold.

    Parameters
    ----------
    scene : the scene.

    Returns
    -------
    dict
        Always the same ten keys; "" stands for a second object or relation that is not there.

    >>> scene_facts(Scene(Thing("dog", "red"), 2, "small", "beach", "rain", "photo"))["count"]
    2
    """
    other = scene.other or Thing("", "")
    return {
        "kind": scene.thing.kind,
        "colour": scene.thing.colour,
        "count": scene.count,
        "size": scene.size,
        "place": scene.place,
        "weather": scene.weather,
        "style": scene.style,
        "other_kind": other.kind,
        "other_colour": other.colour,
        "relation": scene.relation or "",
    }


def _known(facts: Mapping[str, Any], key: str, allowed: Mapping[Any, object]) -> Any:
    value = facts.get(key)
    if value not in allowed:
        raise InputError(
            f"scene facts, key {key!r}: {value!r} is not in the catalog; "
            f"use one of: {', '.join(map(str, allowed))}"
        )
    return value


def scene_from_facts(facts: Mapping[str, Any]) -> Scene:
    """Build the scene that `scene_facts` described.

    Parameters
    ----------
    facts : the dictionary.

    Returns
    -------
    Scene

    Raises
    ------
    InputError
        If a value is missing or is not in the catalog.

    >>> scene = Scene(Thing("dog", "red"), 2, "small", "beach", "rain", "photo")
    >>> scene_from_facts(scene_facts(scene)) == scene
    True
    """
    other, relation = None, None
    if facts.get("other_kind"):
        kind = _known(facts, "other_kind", catalog.KINDS)
        other = Thing(kind, _known(facts, "other_colour", catalog.COLOURS))
        relation = _known(facts, "relation", catalog.RELATIONS)
    return Scene(
        Thing(
            _known(facts, "kind", catalog.KINDS),
            _known(facts, "colour", catalog.COLOURS),
        ),
        _known(facts, "count", catalog.COUNTS),
        _known(facts, "size", catalog.SIZES),
        _known(facts, "place", catalog.PLACES),
        _known(facts, "weather", catalog.WEATHER),
        _known(facts, "style", catalog.STYLES),
        other,
        relation,
    )


def child_rng(seed: int, *parts: int) -> np.random.Generator:
    """A generator for one part of the work, the same whichever worker does that part.

    Parameters
    ----------
    seed : the seed of the world.
    parts : non-negative integers that name the part, for example a shard and a row.

    Returns
    -------
    numpy.random.Generator

    >>> child_rng(1, 2, 3).random() == child_rng(1, 2, 3).random() != child_rng(1, 2, 4).random()
    True
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=parts))
