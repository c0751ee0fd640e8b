"""The toy world's captions are true and its noise is the web's; its files, resuming, refusals."""

import hashlib
import io
import itertools
import json
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

import imagehash
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from align_edu.filters import filter_pairs
from align_edu.io import InputError, only_writer
from align_edu.pairs import open_pairs
from align_edu.world import World, benchmark, web_noise
from align_edu.world import catalog as words
from align_edu.world.alt_text import caption, full_captions, plain_words
from align_edu.world.catalog import WEB
from align_edu.world.scene import Scene, Thing, is_held_out, sample_scene, scene_from_facts
from align_edu.world.web_noise import NOISE, Pair, WorldSettings, make_pair, popular_images
from tests.samples import cases, disk_of, refused

LITTLE = {"a", "an", "the", "one", "my"}
STYLE_NAMES = {
    "sketch": "sketch", "drawing": "sketch", "poster": "poster", "art print": "poster",
    "photo": "photo", "photograph": "photo", "picture": "any", "image": "any",
}  # fmt: skip
TURNED = {"above": "below", "below": "above", "beside": "beside"}
Statements = set[tuple[str | int | None, ...]]
NUMBERS = {"two": 2, "2": 2, "couple": 2, "three": 3, "3": 3, "trio": 3, "four": 4, "4": 4}
BOILERPLATE = WEB["formats"]["boilerplate"]["format"]
PAIRS, SHARD_SIZE = 130, 30  # four whole shards and one of ten pairs
COLUMNS = [
    "key", "caption", "url", "sha256", "original_width", "original_height", "width", "height",
    "status", "error_message", "exif", "noise", "scene",
]  # fmt: skip
WORLD = {"seed": 0, "noise": 0.1, "image_size": 58}
WRITE = {
    "shards": lambda out, pairs=10, **options: World(
        *(options.pop(name, default) for name, default in WORLD.items())
    ).write(out, pairs, **options),
    "benchmark": lambda out, **options: World().write_benchmark(out, **({"scenes": 5} | options)),
    "task": lambda out, **options: World().write_task(out, **({"task": "style"} | options)),
}
SCENES, TWINS = 200, 4


def write(out: Path, seed: int = 3, **changes: object) -> Path:
    arguments = {"pairs": PAIRS, "workers": 1, "shard_size": SHARD_SIZE}
    return World(seed=seed).write(out, **(arguments | changes))  # type: ignore[arg-type]


def digests(folder: Path) -> dict[str, str]:
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.iterdir()}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write(tmp_path_factory.mktemp("world") / "raw")


def test_the_layout_is_that_of_img2dataset_and_each_tar_agrees_with_its_table(world):
    shards = [f"{i:05d}{end}" for i in range(5) for end in (".parquet", ".tar", "_stats.json")]
    assert sorted(f.name for f in world.iterdir()) == sorted([*shards, "world.json"])
    assert json.loads((world / "00004_stats.json").read_text()) == {
        "count": 10, "successes": 10, "failed_to_download": 0, "failed_to_resize": 0,
        "status_dict": {"success": 10},
    }  # fmt: skip
    table = pq.read_table(world / "00002.parquet")
    assert table.column_names == COLUMNS
    keys = [f"00002{i:04d}" for i in range(SHARD_SIZE)]
    with tarfile.open(world / "00002.tar") as tar:
        assert tar.getnames() == [f"{key}.{end}" for key in keys for end in ("jpg", "txt", "json")]
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    for row in table.to_pylist():
        jpeg, text, record = (members[f"{row['key']}.{kind}"] for kind in ("jpg", "txt", "json"))
        assert text.decode() == row["caption"] and json.loads(record) == row
        assert hashlib.sha256(jpeg).hexdigest() == row["sha256"]
        image = Image.open(io.BytesIO(jpeg))
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (58, 58))


def test_the_bytes_depend_on_the_seed_and_not_on_the_number_of_workers(world, tmp_path, capsys):
    assert digests(write(tmp_path / "two", workers=2, progress=True)) == digests(world)
    captured = capsys.readouterr()
    assert captured.out == "" and "130/130" in captured.err
    other = write(tmp_path / "other", seed=4, pairs=30)
    mine = pq.read_table(world / "00000.parquet").column("sha256").to_pylist()
    assert not set(mine) & set(pq.read_table(other / "00000.parquet").column("sha256").to_pylist())


def test_a_lost_file_is_made_again_and_whole_shards_are_left_alone(tmp_path):
    out = write(tmp_path / "raw", pairs=60, shard_size=20)
    before, shard = digests(out), {"00001.tar", "00001_stats.json", "00001.parquet"}
    for lost in shard:
        times = {f.name: f.stat().st_mtime_ns for f in out.iterdir()}
        (out / lost).unlink()
        (out / ".00001.tar.123.part").write_bytes(b"half a shard")
        write(out, pairs=60, shard_size=20)
        assert digests(out) == before
        assert {f.name for f in out.iterdir() if f.stat().st_mtime_ns != times[f.name]} == shard


def test_a_killed_writer_goes_on_to_the_same_bytes(world, tmp_path):
    out = tmp_path / "raw"
    code = (
        "import sys; from align_edu.world import World; "
        f"World(3).write(sys.argv[1], {PAIRS}, workers=1, shard_size={SHARD_SIZE})"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(out)])
    deadline = time.monotonic() + 60
    while not list(out.glob(".00002.tar.*.part")) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (out / "00001.parquet").exists() and not (out / "00004.parquet").exists()
    assert digests(write(out)) == digests(world)


@pytest.mark.parametrize("kind", WRITE)
def test_a_second_writer_into_the_same_folder_is_refused(tmp_path, kind):
    out = tmp_path / "raw"
    with only_writer(out), pytest.raises(InputError, match="another process is writing to it"):
        WRITE[kind](out)
    assert not out.exists()


def test_a_folder_of_other_settings_is_refused_and_left_alone(world):
    before = digests(world)
    refused(r"other settings \(seed, pairs\)", write, world, seed=9, pairs=60)
    assert digests(world) == before


@cases(
    "kind, options, message",
    ("shards", {"shard_size": 10_001}, "shard size 10001: give a whole number from 1 to 10000"),
    ("shards", {"seed": True}, "seed True"),
    *[
        ("shards", {"image_size": x}, f"image size {x}: give a whole number from 8 to 4096")
        for x in (7, 4097, 58.5, "58", None)
    ],
    ("benchmark", {"image_size": 4}, "image size 4"),
    ("task", {"train": 0, "val": 0, "test": 0}, "pictures 0"),
    ("task", {"train": -1}, "train pictures -1"),
    ("task", {"held_out": True}, "only object and colour"),
)
def test_options_that_no_command_has_are_refused_too(tmp_path, kind, options, message):
    refused(message, WRITE[kind], tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["", "00007.tar"])
@cases("kind, message", ("shards", "another origin"), ("benchmark", "something else"))
def test_a_path_that_holds_something_else_is_refused_and_left_alone(tmp_path, kind, path, message):
    (tmp_path / "00007.tar").write_text("mine")
    refused("is a file" if path else message, WRITE[kind], tmp_path / path)
    assert [f.read_text() for f in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(("kind", "left"), [("shards", ["world.json"]), ("benchmark", [])])
def test_a_full_disk_is_an_input_error_and_leaves_only_whole_files(tmp_path, kind, left):
    with disk_of(2_000), pytest.raises(InputError, match="cannot be written"):
        WRITE[kind](tmp_path / "raw")
    assert [f.name for f in tmp_path.glob("raw/*")] == left
    assert any(WRITE[kind](tmp_path / "raw").iterdir())


def test_a_script_that_workers_cannot_import_ends_with_the_remedy(tmp_path):
    script = (
        "from align_edu.world import World\n"
        "from align_edu.io import InputError\n"
        "try: World(0).write('raw', 40, workers=2, shard_size=20)\n"
        "except InputError as error: print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-"], input=script, cwd=tmp_path, capture_output=True, text=True
    )
    assert "in a script, write worlds below `if __name__ == '__main__':`" in result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return World(seed=21).write_benchmark(tmp_path_factory.mktemp("toy") / "benchmark", SCENES)


@pytest.fixture(scope="module")
def dataset(folder):
    return json.loads((folder / "dataset_toy.json").read_text())


@pytest.fixture(scope="module")
def hard(tmp_path_factory):
    out = tmp_path_factory.mktemp("hard") / "benchmark"
    World(seed=22).write_benchmark(out, 200, image_size=32, twins=TWINS)
    return json.loads((out / "dataset_toy.json").read_text())


def test_the_file_is_karpathys_format_and_marks_what_training_never_sees(folder, dataset):
    images = dataset["images"]
    assert dataset["dataset"] == "toy" and len(images) == SCENES
    for number, image in enumerate(images):
        assert (image["imgid"], image["split"]) == (number, "test") and "twin_of" not in image
        assert image["filename"] == f"{number:06d}.jpg"
        assert image["sentids"] == list(range(5 * number, 5 * number + 5))
        assert [s["sentid"] for s in image["sentences"]] == image["sentids"]
        assert {s["imgid"] for s in image["sentences"]} == {number}
        assert image["held_out"] == is_held_out(scene_from_facts(image["scene"]))
        for sentence in image["sentences"]:
            letters = "".join(c for c in sentence["raw"].lower() if c.isalnum() or c == " ")
            assert sentence["tokens"] == letters.split()
    assert sum(row["held_out"] for row in images) / SCENES == pytest.approx(0.15, abs=0.06)
    files = sorted((folder / "images").iterdir())
    assert [file.name for file in files] == [image["filename"] for image in images]
    with Image.open(files[7]) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (128, 128))


@pytest.mark.parametrize("name", ["dataset", "hard"])
def test_no_full_caption_fits_two_scenes_and_no_two_captions_are_equal(name, request):
    images = request.getfixturevalue(name)["images"]
    said = [statements(scene_from_facts(row["scene"])) for row in images]
    for one, two in itertools.permutations(said, 2):
        assert not one <= two, (one, two)
    texts = [tuple(s["tokens"]) for row in images for s in row["sentences"]]
    assert len(set(texts)) == len(texts) == 5 * len(images)


def test_a_half_made_benchmark_is_made_again_and_a_whole_one_left_alone(tmp_path):
    half = tmp_path / ".a.part" / "images"
    half.mkdir(parents=True)
    (half / "000999.jpg").write_bytes(b"left over")
    out = World(seed=4).write_benchmark(tmp_path / "a", 5)
    stamps = {f: f.stat().st_mtime_ns for f in out.rglob("*") if f.is_file()}
    assert len(stamps) == 9  # five pictures, their JSON, three tables of ratings
    World(seed=4).write_benchmark(out, 5)
    assert {f: f.stat().st_mtime_ns for f in out.rglob("*") if f.is_file()} == stamps
    assert [f.name for f in tmp_path.iterdir()] == ["a"]
    refused("something else", World(seed=4).write_benchmark, out, 5, twins=1)


def test_more_scenes_than_captions_can_tell_apart_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "MOST_TRIES", 1)  # as if the world had run out of scenes
    options = {"scenes": 2_000, "image_size": 16}
    refused("no caption confuses; ask for fewer", WRITE["benchmark"], tmp_path / "b", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("twins", [0, 2])
def test_training_scenes_follow_the_test_scenes_which_stay_as_they_are(tmp_path, twins):
    world, more = World(seed=6), {"image_size": 32, "twins": twins}
    alone = world.write_benchmark(tmp_path / "alone", 12, **more)
    both = world.write_benchmark(tmp_path / "both", 12, train=9, **more)
    rows = {
        folder: json.loads((folder / "dataset_toy.json").read_text())["images"]
        for folder in (alone, both)
    }
    assert rows[both][:12] == rows[alone]
    assert [row["split"] for row in rows[both][12:]] == ["train"] * 9
    assert not any(row["held_out"] or row.get("twin_of") for row in rows[both][12:])
    for name in ("images/000003.jpg", "cxc/sits_test.csv"):
        assert (both / name).read_bytes() == (alone / name).read_bytes()
    pairs = open_pairs([both])
    assert len(pairs) == 45 and pairs.names[0] == "000012.jpg"


def test_each_near_twin_differs_from_its_scene_in_exactly_one_fact(hard):
    images = hard["images"]
    twins = [row for row in images if row["twin_of"] is not None]
    assert len(twins) == 160  # four of each five
    changed = set()
    for row in twins:
        base = images[row["imgid"] - row["imgid"] % (TWINS + 1)]
        assert base["imgid"] == row["twin_of"] and base["twin_of"] is None
        (name,) = (name for name, fact in row["scene"].items() if fact != base["scene"][name])
        changed.add(name)
    assert changed >= {"kind", "colour", "place", "count"}


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


def test_the_rules_of_noise_are_those_of_the_filters(tmp_path):
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
    refused("has no images with scenes", World().write, tmp_path / "world", 10, benchmark=tmp_path)
    assert not (tmp_path / "world").exists()
