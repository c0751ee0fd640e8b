"""Clean alt-text: what people might write beside a picture, in English, 3 to 20 words.

A fact that a caption leaves out has its usual value. Completeness varies as on the web: a full
caption mentions every fact that is not usual, most captions leave out one or two of them, and a
brief one mentions the kind of object and at most two of them.
"""

import re

import numpy as np

from align_edu.io import InputError
from align_edu.world import catalog as w
from align_edu.world.catalog import one_of, pick, with_article
from align_edu.world.scene import Scene, Thing, Wheel, scene_facts

USUAL = {"count": 1, "size": "medium", "weather": "clear", "style": "photo"}
FEWEST_WORDS, MOST_WORDS = 3, 20
COMPLETENESS_SHARES = {"full": 0.2, "most": 0.3, "brief": 0.5}
FACT_WEIGHTS = {"colour": 1.5}  # a caption with room for few facts prefers the colour
# How often a caption of so few facts adds who took the picture, or when; without that, short
# captions would repeat word for word, and the filters would take them for boilerplate.
ASIDE_RATES = {0: 0.95, 1: 0.95, 2: 0.6, 3: 0.3}
ARTICLES = ("a", "an", "the")

_COMPLETENESS, _ORDERS = Wheel(COMPLETENESS_SHARES), Wheel(w.WORDS["orders"])


def plain_words(text: str) -> list[str]:
    """Split a text into lower-case words without punctuation.

    Paper: Section 3; these are the unigrams that its bounds of 3 and 20 count.
    """
    return re.sub(r"[^\w\s]", "", text).lower().split()


def tellable_facts(scene: Scene) -> list[str]:
    """Return the facts that a full caption mentions besides the kind: all that are not usual."""
    unusual = [name for name, value in USUAL.items() if getattr(scene, name) != value]
    more = ["other", "relation", "other_colour"] if scene.other is not None else []
    return ["colour", "place", *unusual, *more]


def told_facts(
    scene: Scene, rng: np.random.Generator, completeness: str = "mixed"
) -> frozenset[str]:
    """Choose the facts that a caption mentions besides the kind of the main object.

    completeness: as for `caption`. Returns names from `tellable_facts`.
    """
    facts = tellable_facts(scene)
    if completeness == "mixed":
        completeness = _COMPLETENESS.pick(rng.random())
    u = rng.random()
    few, left_out = 0 if u < 0.1 else 1 if u < 0.45 else 2, 1 + int(u * 2)
    n = {"full": len(facts), "most": max(1, len(facts) - left_out), "brief": few}[completeness]
    # Facts with a larger weight come first more often (Efraimidis and Spirakis, 2006).
    lots = {fact: rng.random() ** (1 / FACT_WEIGHTS.get(fact, 1.0)) for fact in facts}
    told = frozenset(sorted(facts, key=lots.__getitem__, reverse=True)[:n])
    about_other = {"relation", "other_colour"}
    if completeness == "brief" and told & about_other:
        return told | {"other"}
    return told if "other" in told else told - about_other


def agree(facts: frozenset[str], scene: Scene, other: Scene) -> bool:
    """Return True if two scenes have the same value of each fact that `told_facts` returned.

    >>> dog = Scene(Thing("dog", "red"), 1, "medium", "beach", "clear", "photo")
    >>> cat = Scene(Thing("cat", "red"), 1, "medium", "snow", "clear", "photo")
    >>> agree(frozenset({"colour"}), dog, cat), agree(frozenset({"place"}), dog, cat)
    (True, False)
    """
    ours, theirs = scene_facts(scene), scene_facts(other)
    names = ("other_kind" if name == "other" else name for name in facts)
    return all(ours[name] == theirs[name] for name in names)


def _object(
    thing: Thing, count: int, size: str | None, facts: frozenset[str], rng: np.random.Generator
) -> str:
    """Word one object of a scene: how many, how large, which colour, what."""
    one, several = pick(rng, w.NOUNS[thing.kind])
    colour = pick(rng, w.COLOUR_WORDS[thing.colour]) if "colour" in facts else ""
    words = [pick(rng, w.WORDS["sizes"][size])] if size else []
    words += [colour] if colour else []
    words += [several if count > 1 else one]
    if colour and rng.random() < 0.04:
        words.remove(colour)
        words += ["in", colour]
    phrase = " ".join(words)
    if count == 1:
        u = rng.random()
        if u < 0.82 or u >= 0.97:
            return with_article(phrase)
        return f"{'the' if u < 0.90 else 'one' if u < 0.94 else 'my'} {phrase}"
    if "count" in facts:
        return f"{pick(rng, w.COUNT_WORDS[count])} {phrase}"
    return f"some {phrase}" if rng.random() < 0.4 else phrase


def _subject(scene: Scene, facts: frozenset[str], rng: np.random.Generator) -> str:
    size = scene.size if "size" in facts else None
    thing = _object(scene.thing, scene.count, size, facts, rng)
    if scene.other is None or "other" not in facts:
        return thing
    other_facts = facts - {"colour"} | ({"colour"} if "other_colour" in facts else set())
    other = _object(scene.other, 1, None, other_facts, rng)
    if scene.relation is None or "relation" not in facts:
        return f"{thing} {'and' if rng.random() < 0.6 else 'with'} {other}"
    relation = scene.relation
    if rng.random() < 0.2:
        thing, other, relation = other, thing, w.INVERSE_RELATIONS[relation]
    words = pick(rng, w.WORDS["relations"][relation])
    return f"{thing} {words} {other}"


def _style_parts(scene: Scene, facts: frozenset[str], rng: np.random.Generator) -> tuple[str, str]:
    """Return what names the picture's style, before and after the rest."""
    u = rng.random()
    if u < 0.82 if scene.style == "photo" else "style" not in facts:
        return "", ""
    if rng.random() < 0.65:
        return pick(rng, w.WORDS["style_prefixes"][scene.style]) + " ", ""
    return "", pick(rng, w.WORDS["style_suffixes"][scene.style])


def _predicate(scene: Scene, facts: frozenset[str], place: str, rng: np.random.Generator) -> str:
    """The main object with its colour at the end: "the dog on the beach is red"."""
    size = scene.size if "size" in facts else None
    words = _object(scene.thing, scene.count, size, facts - {"colour"}, rng).split()
    words = words[1:] if words[0] in (*ARTICLES, "one", "my", "some") else words
    verb = "are" if scene.count > 1 else "is"
    colour = pick(rng, w.COLOUR_WORDS[scene.thing.colour])
    return " ".join(["the", *words, *place.split(), verb, colour])


def _body(scene: Scene, facts: frozenset[str], order: str, rng: np.random.Generator) -> str:
    """Word everything but the style, in this order."""
    place = pick(rng, w.PLACE_PHRASES[scene.place]) if "place" in facts else ""
    weather = pick(rng, w.WEATHER_PHRASES[scene.weather]) if "weather" in facts else ""
    alone = "other" not in facts
    if order == "S P is C W" and alone and "colour" in facts:
        return f"{_predicate(scene, facts, place, rng)} {weather}".strip()
    order = order.replace(" is C", "")
    subject = _subject(scene, facts, rng)
    if alone and place and order[0] == "S" and rng.random() < 0.12:
        verbs, family = w.WORDS["verbs"], w.KINDS[scene.thing.kind]
        subject += f" {one_of(verbs.get(family, verbs['other']), rng)}"
    parts = {"S": subject, "P": place, "W": weather}
    text = "".join(parts.get(mark, mark) for mark in order)
    text = re.sub(r"^[ ,:]+", "", re.sub(r" [,:]", ",", text))
    return " ".join(text.split())


def _letter_case(text: str, rng: np.random.Generator) -> str:
    u = rng.random()
    if u < 0.55:
        return text
    if u >= 0.90:  # a capital for each word of three letters or more
        text = re.sub(r"(?<!\S)\S(?=\S\S)", lambda first: first[0].upper(), text)
    return text[0].upper() + text[1:] + ("." if u < 0.68 else "")


def _caption_of(scene: Scene, facts: frozenset[str], rng: np.random.Generator) -> str:
    """Word these facts again and again until the text is neither too short nor too long."""
    while True:
        prefix, suffix = _style_parts(scene, facts, rng)
        order = "S P W" if prefix else _ORDERS.pick(rng.random())
        text = prefix + _body(scene, facts, order, rng) + suffix
        if len(plain_words(text)) < FEWEST_WORDS:
            text = f"{pick(rng, w.WORDS['plain_prefixes'])} {text}"
        headline = " ".join(word for word in text.split() if word not in ARTICLES)
        too_long = len(plain_words(text)) > MOST_WORDS
        if (too_long or rng.random() < 0.15) and len(plain_words(headline)) >= FEWEST_WORDS:
            text = headline
        if FEWEST_WORDS <= len(plain_words(text)) <= MOST_WORDS:
            return _letter_case(text, rng)


def _with_aside(text: str, rng: np.random.Generator) -> str:
    """Add who took the picture, and when: true, and nothing that the picture shows."""
    asides = w.WORDS["asides"]
    first, last, month = (one_of(asides[part], rng) for part in asides)
    name, year = f"{first} {last}", one_of(range(2004, 2021), rng)
    if not text.islower():
        name, month = name.title(), month.title()
    u = rng.random()
    aside = f" by {name}" if u < 0.5 else f", {month} {year}" if u < 0.7 else f" by {name}, {year}"
    longer = text.removesuffix(".") + aside
    return longer if len(plain_words(longer)) <= MOST_WORDS else text


def caption(scene: Scene, rng: np.random.Generator, completeness: str = "mixed") -> str:
    """Write a clean alt-text of 3 to 20 words, all of them true of the scene.

    completeness: "full", "most", "brief", or "mixed" for the shares of `COMPLETENESS_SHARES`.

    >>> scene = Scene(Thing("dog", "red"), 2, "medium", "beach", "rain", "photo")
    >>> caption(scene, np.random.default_rng(1), "full")
    'in the rain, two red dogs on the beach'
    """
    if completeness not in (*COMPLETENESS_SHARES, "mixed"):
        raise InputError(f"completeness {completeness!r}: use full, most, brief or mixed")
    facts = told_facts(scene, rng, completeness)
    text = _caption_of(scene, facts, rng)
    return _with_aside(text, rng) if rng.random() < ASIDE_RATES.get(len(facts), 0.1) else text


def full_captions(scene: Scene, rng: np.random.Generator, n: int = 5) -> list[str]:
    """Write n captions that each mention every fact of the scene that is not usual.

    No two of them are equal, not even without case and punctuation.

    >>> scene = Scene(Thing("dog", "red"), 1, "large", "snow", "clear", "sketch")
    >>> full_captions(scene, np.random.default_rng(0), n=1)
    ['a sketch of a large crimson dog in the snow']
    """
    facts = frozenset(tellable_facts(scene))
    wordings: dict[str, str] = {}
    while len(wordings) < n:
        text = _caption_of(scene, facts, rng)
        wordings.setdefault(" ".join(plain_words(text)), text)
    return list(wordings.values())
