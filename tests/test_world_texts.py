"""Captions of the toy world can be read back and are true; its noise is that of the web."""

import io
import re
from collections import Counter

import imagehash
import numpy as np
import pytest
from PIL import Image

from align_edu.filters import filter_pairs
from align_edu.world import World, web_noise
from align_edu.world import catalog as words
from align_edu.world.alt_text import caption, full_captions, plain_words
from align_edu.world.catalog import WEB
from align_edu.world.scene import Scene, Thing, is_held_out, sample_scene
from align_edu.world.web_noise import NOISE, Pair, WorldSettings, make_pair, popular_images
from tests.samples import refused

LITTLE = {"a", "an", "the", "one", "my"}
STYLE_NAMES = {
    "sketch": "sketch", "drawing": "sketch", "poster": "poster", "art print": "poster",
    "photo": "photo", "photograph": "photo", "picture": "any", "image": "any",
}  # fmt: skip
TURNED = {"above": "below", "below": "above", "beside": "beside"}
Statements = set[tuple[str | int | None, ...]]
NUMBERS = {"two": 2, "2": 2, "couple": 2, "three": 3, "3": 3, "trio": 3, "four": 4, "4": 4}


def bare(text: str) -> str:
    kept = re.sub(r"[^\w\s]", " ", text.lower()).split()
    return " ".join(word for word in kept if word not in LITTLE)


class Reader:
    """Finds the known phrases of one sort of fact, the longer ones first."""

    def __init__(self, meanings: dict[str, str]) -> None:
        self.meanings = meanings
        longest_first = sorted(meanings, key=len, reverse=True)
        self.pattern = re.compile(rf"(?<!\S)({'|'.join(longest_first)})(?!\S)")

    def take(self, text: str) -> tuple[str, str | None, int]:
        found = self.pattern.search(text)
        if not found:
            return text, None, -1
        return text[: found.start()] + text[found.end() :], self.meanings[found[1]], found.start()


def reader_of(table: dict[str, tuple[str, ...]]) -> Reader:
    return Reader({bare(phrase): fact for fact, phrases in table.items() for phrase in phrases})


NOUNS = Reader({form: kind for kind, names in words.NOUNS.items() for n in names for form in n})
COLOUR, SIZE = reader_of(words.COLOUR_WORDS), reader_of(words.WORDS["sizes"])
PLACE, WEATHER_PHRASE = reader_of(words.PLACE_PHRASES), reader_of(words.WEATHER_PHRASES)
STYLE = Reader(STYLE_NAMES)
RELATION = reader_of(words.WORDS["relations"] | {"with": ("and", "with")})


def object_in(text: str) -> tuple[str | None, Statements]:
    text, kind, _ = NOUNS.take(text)
    text, colour, _ = COLOUR.take(text)
    text, size, _ = SIZE.take(text)
    count = next((NUMBERS[word] for word in text.split() if word in NUMBERS), None)
    found = {("colour", kind, colour), ("size", kind, size), ("count", kind, count)}
    return kind, {("kind", kind), *(each for each in found if each[2])}


def read(text: str) -> Statements:
    """What a caption says."""
    text, place, _ = PLACE.take(bare(text))
    text, weather, _ = WEATHER_PHRASE.take(text)
    text, style, _ = STYLE.take(text)
    rest, relation, where = RELATION.take(text)
    if style == "poster" and relation == "with" and rest[:where].strip() in ("", "poster"):
        rest, relation, where = RELATION.take(rest)  # "a poster with two dogs"
    first, said = object_in(rest if relation is None else rest[:where])
    if relation is not None:
        second, more = object_in(rest[where:])
        said |= more
        if relation in TURNED:
            said |= {(first, relation, second), (second, TURNED[relation], first)}
    around = {("place", place), ("weather", weather), ("style", style)}
    return said | {each for each in around if each[1] not in (None, "any")}


def statements(scene: Scene) -> Statements:
    """What a full caption says of a scene, with its relation told from either end."""
    found: Statements = {("place", scene.place), ("weather", scene.weather), ("style", scene.style)}
    found -= {("weather", "clear"), ("style", "photo")}
    for thing in scene.things:
        found |= {("kind", thing.kind), ("colour", thing.kind, thing.colour)}
    main = scene.thing.kind
    found |= {("count", main, scene.count)} if scene.count > 1 else set()
    found |= {("size", main, scene.size)} if scene.size != "medium" else set()
    if scene.other is not None and scene.relation is not None:
        other, turned = scene.other.kind, TURNED[scene.relation]
        found |= {(main, scene.relation, other), (other, turned, main)}
    return found


def test_every_caption_is_true_and_well_formed_and_a_full_one_says_everything():
    rng = np.random.default_rng(11)
    for number in range(2_000):
        scene = sample_scene(rng, held_out=number % 5 == 0)
        kind = ("full", "most", "brief", "mixed")[number % 4]
        (text,) = full_captions(scene, rng, n=1) if kind == "full" else [caption(scene, rng, kind)]
        assert 3 <= len(re.sub(r"[^\w\s]", "", text).split()) <= 20, text
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text.lower()), text
        said, true = read(text), statements(scene)
        assert said <= true | {("style", scene.style)}, (text, scene)
        assert kind != "full" or true <= said, (text, scene)


def test_the_wordiest_scene_still_has_five_full_captions_within_20_words():
    first, second = Thing("pizza slice", "turquoise"), Thing("scissors", "orange")
    scene = Scene(first, 1, "large", "night city", "snowfall", "sketch", second, "beside")
    rng = np.random.default_rng(14)
    texts = [plain_words(text) for text in full_captions(scene, rng)]
    assert len(set(map(tuple, texts))) == 5 and max(map(len, texts)) <= 20
    refused("completeness 'all'", caption, scene, rng, "all")


BOILERPLATE = WEB["formats"]["boilerplate"]["format"]
FROM_IMAGE = {"too_small", "extreme_aspect", "popular_image", "near_duplicate"}


def pairs_of(n: int, **changes: object) -> list[Pair]:
    values = {"seed": 5, "noise": 0.25, "image_size": 58, "pairs": 5_000, "shard_size": 5_000}
    settings = WorldSettings(**(values | changes))  # type: ignore[arg-type]
    return [make_pair(settings, 0, index) for index in range(n)]


@pytest.fixture
def blank_pictures(monkeypatch):
    blank = Image.new("RGB", (58, 58))
    monkeypatch.setattr(web_noise, "draw", lambda scene, rng, size: blank)
    web_noise._popular_pair.cache_clear()
    yield
    web_noise._popular_pair.cache_clear()


def test_a_quarter_of_the_pairs_is_noisy_and_its_rules_are_those_of_the_filters(tmp_path):
    assert sum(noise.share for noise in NOISE.values()) == pytest.approx(0.25)
    assert {name for name, noise in NOISE.items() if noise.side == "image"} == FROM_IMAGE
    raw = World(seed=1).write(tmp_path / "raw", pairs=20, workers=1)
    known = {step.rule for step in filter_pairs(raw, tmp_path / "kept").steps}
    assert {rule for noise in NOISE.values() for rule in noise.rules} <= known


@pytest.mark.usefixtures("blank_pictures")
@pytest.mark.parametrize("rate", [0.0, 0.25, 0.95])
def test_each_noise_has_its_share_of_the_rate_and_no_picture_shows_a_held_out_composition(rate):
    n = 6_000 if rate == 0.25 else 1_500
    pairs = pairs_of(n, pairs=100_000, noise=rate)
    seen = Counter(p.noise for p in pairs)
    assert seen["clean"] / n == pytest.approx(1 - rate, abs=0.035)
    assert seen["near_duplicate"] == 0  # only where there is a benchmark to be near to
    for name in NOISE.keys() - {"near_duplicate"}:
        expected = n * rate * NOISE[name].share / 0.246
        assert abs(seen[name] - expected) <= 4 * expected**0.5, name
    assert not any(is_held_out(p.scene) for p in pairs)
    # The alt-texts of a popular image differ, and its file does not.
    popular = [p for p in pairs if p.noise == "popular_image"]
    assert len({p.text.lower() for p in popular}) >= len(popular) / 2
    files = {(p.jpeg, p.url, p.original_size) for p in popular}
    assert len(files) == popular_images(WorldSettings(5, rate, 58, 100_000, 5_000))


@pytest.mark.usefixtures("blank_pictures")
def test_a_small_world_shares_boilerplate_and_only_noisy_pictures_break_the_size_rules():
    pairs = pairs_of(5_000)
    shared = Counter(p.text for p in pairs if p.noise == "boilerplate")
    assert set(shared) == set(BOILERPLATE)
    assert min(shared.values()) > 10  # the paper drops texts shared by more than ten images
    for p in pairs:
        short, long = sorted(p.original_size)
        assert (short <= 200) == (p.noise == "too_small"), p.noise
        assert (long / short >= 3) == (p.noise == "extreme_aspect"), p.noise


def test_a_popular_image_has_over_1000_alt_texts_in_a_world_of_100_000_pairs():
    images = {n: popular_images(WorldSettings(5, 0.25, 58, n, 5_000)) for n in (90_000, 100_000)}
    assert images == {90_000: 0, 100_000: 1}
    texts = 100_000 * 0.25 * 1.2 / 24.6  # without near-duplicates, whose 0.4 % go to the others
    assert texts - 5 * texts**0.5 > 1_000


def test_near_duplicates_look_like_a_benchmark_picture_but_are_other_files(tmp_path):
    folder = World(seed=9).write_benchmark(tmp_path / "benchmark", scenes=12)
    files = sorted((folder / "images").iterdir())
    known = [imagehash.phash(Image.open(file)) for file in files]
    pairs = pairs_of(700, noise=0.95, benchmark=folder)
    near = [p for p in pairs if p.noise == "near_duplicate"]
    assert len(near) >= 5
    for p in near:
        mine = imagehash.phash(Image.open(io.BytesIO(p.jpeg)))
        assert min(mine - other for other in known) <= 10  # of 64 bits
        assert p.jpeg not in {file.read_bytes() for file in files}


def test_a_folder_that_is_no_benchmark_cannot_be_near_to(tmp_path):
    (tmp_path / "dataset_toy.json").write_text('{"images": []}')
    refused(
        "has no images with scenes", World().write, tmp_path / "world", pairs=10, benchmark=tmp_path
    )
    assert not (tmp_path / "world").exists()
