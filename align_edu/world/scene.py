"""A scene: the facts behind one picture and its alt-text, how often each fact occurs, and edits.

In planted scenes most things of a kind have one colour: a correlation that a model may amplify.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import accumulate, product
from typing import Any

import numpy as np

from align_edu.io import InputError
from align_edu.world import catalog
from align_edu.world.catalog import COUNT_WORDS, NOUNS, with_article

# The first number of each random stream: no two streams of one seed ever meet.
EDIT_STREAM = 5
STREAMS = {"training": 0, "benchmark": 1, "popular": 2, "task": 3, "rating": 4}


def child_rng(seed: int, *parts: int | str) -> np.random.Generator:
    """Return a generator for one part of the work, the same on whichever worker does that part.

    parts: a name of `STREAMS`, and non-negative integers that identify the part, for example a
    shard and a row.

    >>> child_rng(1, 2, 3).random() == child_rng(1, 2, 3).random() != child_rng(1, 2, 4).random()
    True
    """
    key = [STREAMS[part] if isinstance(part, str) else part for part in parts]
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


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
    return Wheel({name: rank**-exponent for rank, name in enumerate(names, start=1)})


_KINDS = _zipf_wheel(catalog.KINDS, catalog.KIND_EXPONENT)
_COLOURS = _zipf_wheel(catalog.COLOURS, catalog.COLOUR_EXPONENT)
_PLACES = _zipf_wheel(catalog.PLACES, catalog.PLACE_EXPONENT)
_WEATHER, _SIZES, _STYLES = Wheel(catalog.WEATHER), Wheel(catalog.SIZES), Wheel(catalog.STYLES)
_COUNTS, _RELATIONS = Wheel(catalog.COUNTS), Wheel(catalog.RELATIONS)
_DARK = {k: rate for k, rate in catalog.WEATHER.items() if k not in catalog.DAYLIGHT_WEATHER}
_DARK_WEATHER = Wheel(_DARK)

# One composition in sixteen, chosen by SHA-256 and so the same on every machine.
HELD_OUT = frozenset(
    pair
    for pair in product(catalog.KINDS, catalog.COLOURS)
    if int(sha256("|".join(pair).encode()).hexdigest()[:8], 16) % catalog.HELD_OUT_ONE_IN == 0
)


def is_held_out(scene: Scene) -> bool:
    """Return True if one of the objects has a composition (kind, colour) hidden from training."""
    return any((thing.kind, thing.colour) in HELD_OUT for thing in scene.things)


def sample_scene(rng: np.random.Generator, *, held_out: bool = False) -> Scene:
    """Draw a random scene, with or without a held-out composition, by the catalog's frequencies.

    Its second object, if any, is of another kind than the first.

    >>> scene = sample_scene(np.random.default_rng(0))
    >>> scene.thing.kind in catalog.KINDS, is_held_out(scene)
    (True, False)
    """
    while True:
        u = rng.random(11).tolist()
        place = _PLACES.pick(u[0])
        weather = (_WEATHER if catalog.PLACES[place].daylight else _DARK_WEATHER).pick(u[1])
        weather = weather if catalog.PLACES[place].outdoor else "clear"
        thing = Thing(_KINDS.pick(u[2]), _COLOURS.pick(u[3]))
        other, relation, count = None, None, _COUNTS.pick(u[4])
        if u[5] < catalog.SECOND_OBJECT_RATE:
            other = Thing(_KINDS.pick(u[6]), _COLOURS.pick(u[7]))
            relation, count = _RELATIONS.pick(u[8]), 1
        size, style = _SIZES.pick(u[9]), _STYLES.pick(u[10])
        scene = Scene(thing, count, size, place, weather, style, other, relation)
        one_kind = other is not None and other.kind == thing.kind
        if not one_kind and is_held_out(scene) == held_out:
            return scene


# The facts of a scene, and the values that each can have.
FACTS: dict[str, Mapping[Any, object]] = {
    "kind": catalog.KINDS, "colour": catalog.COLOURS, "count": catalog.COUNTS,
    "size": catalog.SIZES, "place": catalog.PLACES, "weather": catalog.WEATHER,
    "style": catalog.STYLES, "other_kind": catalog.KINDS, "other_colour": catalog.COLOURS,
    "relation": catalog.RELATIONS,
}  # fmt: skip


def scene_facts(scene: Scene) -> dict[str, str | int]:
    """Return the scene as a flat dictionary for JSON: `FACTS`, "" for those of no second object."""
    other = scene.other or Thing("", "")
    around = (scene.count, scene.size, scene.place, scene.weather, scene.style)
    second = (other.kind, other.colour, scene.relation or "")
    return dict(zip(FACTS, (scene.thing.kind, scene.thing.colour, *around, *second)))


def scene_from_facts(facts: Mapping[str, Any]) -> Scene:
    """Build the scene that `scene_facts` described.

    Raises InputError if a value is missing or is not in the catalog.
    """
    values: dict[str, Any] = {key: facts.get(key) for key in FACTS}
    second = bool(values["other_kind"])
    for key, options in FACTS.items():
        needed = second or key not in ("other_kind", "other_colour", "relation")
        if needed and values[key] not in options:
            choices = ", ".join(map(str, options))
            raise InputError(f"scene facts, key {key!r}: {values[key]!r} is none of: {choices}")
    kind, colour, count, size, place, weather, style, *rest = values.values()
    scene = Scene(Thing(kind, colour), count, size, place, weather, style)
    return replace(scene, other=Thing(*rest[:2]), relation=rest[2]) if second else scene


ATTRIBUTES = ("colour", "place", "object", "weather", "style", "count", "added", "removed")


@dataclass(frozen=True)
class Edit:
    """One change of one fact."""

    attribute: str  # the fact, one of ATTRIBUTES
    before: Scene
    after: Scene  # differs from `before` in this fact alone
    minus: str  # words for what is taken away; "" for nothing
    plus: str  # words for what is added; "" for nothing


def sample_edit(attribute: str, rng: np.random.Generator) -> Edit:
    """Draw a scene and change one fact of it.

    >>> edit = sample_edit("colour", np.random.default_rng(0))
    >>> edit.before.thing.kind == edit.after.thing.kind, edit.before.place == edit.after.place
    (True, True)
    """
    while True:
        before = sample_scene(rng)
        before = replace(before, weather="clear") if attribute == "place" else before
        after = edited(attribute, before, rng)
        if after is not None and after != before:
            minus, plus = (_edit_words(attribute, scene) for scene in (before, after))
            return Edit(attribute, before, after, minus, plus)


def distractors(edit: Edit, rng: np.random.Generator) -> list[Scene]:
    """Return scenes that are easily mistaken for the edited one, none of which equals it."""
    others = [name for name in ("colour", "place", "object", "style") if name != edit.attribute]
    same = edited(edit.attribute, edit.before, rng)
    changed = edited(others[rng.integers(len(others))], edit.before, rng)
    half_right = edited("place" if edit.attribute == "object" else "object", edit.after, rng)
    found = [same, changed, half_right, sample_scene(rng)]
    return [s for s in found if s is not None and s not in (edit.after, edit.before)]


def edited(attribute: str, scene: Scene, rng: np.random.Generator) -> Scene | None:
    """Return the scene with another value of one fact (of place in clear weather), if it can."""

    def another(options: Mapping[Any, object], now: Any) -> Any:
        rest = [option for option in options if option != now]
        return rest[rng.integers(len(rest))]

    thing, other = scene.thing, scene.other
    if attribute == "colour":
        return replace(scene, thing=replace(thing, colour=another(catalog.COLOURS, thing.colour)))
    if attribute == "object":
        kind = another(catalog.KINDS, thing.kind)
        twice = other is not None and other.kind == kind
        return None if twice else replace(scene, thing=replace(thing, kind=kind))
    if attribute == "place":
        return replace(scene, weather="clear", place=another(catalog.PLACES, scene.place))
    if attribute == "style":
        return replace(scene, style=another(catalog.STYLES, scene.style))
    if attribute == "weather" and catalog.PLACES[scene.place].daylight and scene.weather != "clear":
        return replace(scene, weather=another(catalog.WEATHER_PHRASES, scene.weather))
    if attribute == "removed" and other is not None:
        return replace(scene, other=None, relation=None)
    if attribute == "count" and other is None:
        return replace(scene, count=another(catalog.COUNTS, scene.count))
    if attribute == "added" and other is None and scene.count == 1:
        added = Thing(another(catalog.KINDS, thing.kind), another(catalog.COLOURS, ""))
        return replace(scene, other=added, relation="beside")
    return None


def _edit_words(attribute: str, scene: Scene) -> str:
    """The words for one fact of the scene, such as "a red dog", "two dogs" or "in the rain"."""
    if attribute in ("added", "removed", "colour"):
        thing = scene.thing if attribute == "colour" else scene.other
        return with_article(f"{thing.colour} {NOUNS[thing.kind][0][0]}") if thing else ""
    if attribute in ("object", "count"):
        one, several = NOUNS[scene.thing.kind][0]
        return with_article(one) if scene.count == 1 else f"{COUNT_WORDS[scene.count][0]} {several}"
    if attribute == "style":
        return f"a {scene.style}"
    phrases = catalog.PLACE_PHRASES | catalog.WEATHER_PHRASES
    return phrases[getattr(scene, attribute)][0]


PLANTED_KINDS, PLANTED_COLOURS = tuple(catalog.KINDS)[:8], tuple(catalog.COLOURS)[:8]


def planted_colour(kind: str, turn: int = 0) -> str:
    """Return the colour that most things of the kind have; another one for each of 8 turns."""
    return PLANTED_COLOURS[(PLANTED_KINDS.index(kind) + turn) % len(PLANTED_COLOURS)]


def lone_scene(thing: Thing, rng: np.random.Generator) -> Scene:
    """Draw a photo of this thing alone, large and in clear weather."""
    place = sample_scene(rng).place
    return Scene(thing, 1, "large", place, "clear", "photo")


def planted_scenes(n: int, share: float, rng: np.random.Generator, turn: int = 0) -> list[Scene]:
    """Draw scenes of one thing each, all kinds alike; a share of them has the planted colour.

    The others share the other colours alike. So over all kinds no colour is more frequent.

    Paper: Section 9 ("reinforcing stereotypes from the web data").

    >>> [scene.thing.colour for scene in planted_scenes(3, 1.0, np.random.default_rng(0))]
    ['red', 'blue', 'white']
    """
    scenes = []
    for i in range(n):
        kind = PLANTED_KINDS[i % len(PLANTED_KINDS)]
        colour = planted_colour(kind, turn)
        if rng.random() >= share:
            others = [each for each in PLANTED_COLOURS if each != colour]
            colour = others[int(rng.random() * len(others))]
        scenes.append(lone_scene(Thing(kind, colour), rng))
    return scenes
