import itertools
import json
from typing import Any

import pytest
from PIL import Image

from align_edu.io import InputError
from align_edu.pairs import open_pairs
from align_edu.world import World, benchmark
from align_edu.world.benchmark import satisfies
from align_edu.world.scene import Scene, Thing, is_held_out, scene_from_facts

SCENES, TWINS = 200, 4


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
    return json.loads((out / "dataset_toy.json").read_text())["images"]


def test_the_file_is_karpathys_format_field_by_field(folder, dataset):
    assert dataset["dataset"] == "toy" and len(dataset["images"]) == SCENES
    for number, image in enumerate(dataset["images"]):
        assert image["imgid"] == number and image["split"] == "test" and "twin_of" not in image
        assert image["filename"] == f"{number:06d}.jpg"
        assert image["sentids"] == list(range(5 * number, 5 * number + 5))
        assert [s["sentid"] for s in image["sentences"]] == image["sentids"]
        assert {s["imgid"] for s in image["sentences"]} == {number}
        for sentence in image["sentences"]:
            letters = "".join(c for c in sentence["raw"].lower() if c.isalnum() or c == " ")
            assert sentence["tokens"] == letters.split()
            assert 3 <= len(sentence["tokens"]) <= 20
    files = sorted((folder / "images").iterdir())
    assert [file.name for file in files] == [image["filename"] for image in dataset["images"]]
    with Image.open(files[7]) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (128, 128))


def statements(facts: dict[str, Any]) -> set[tuple[Any, ...]]:
    """What a full caption says of a scene, one statement each."""
    found = {(name, facts[name]) for name in ("place", "weather", "style")}
    found -= {("weather", "clear"), ("style", "photo")}
    main = (facts["kind"], facts["colour"])
    found |= {("there is", *main)}
    found |= {("count", *main, facts["count"])} if facts["count"] > 1 else set()
    found |= {("size", *main, facts["size"])} if facts["size"] != "medium" else set()
    if facts["other_kind"]:
        other = (facts["other_kind"], facts["other_colour"])
        turned = {"above": "below", "below": "above", "beside": "beside"}[facts["relation"]]
        found |= {("there is", *other), (*main, facts["relation"], *other), (*other, turned, *main)}
    return found


@pytest.mark.parametrize("name", ["dataset", "hard"])
def test_no_full_caption_fits_two_scenes_and_no_two_captions_are_equal(name, request):
    found = request.getfixturevalue(name)
    images = found["images"] if name == "dataset" else found
    for one, two in itertools.permutations([statements(row["scene"]) for row in images], 2):
        assert not one <= two, (one, two)
    texts = [tuple(s["tokens"]) for row in images for s in row["sentences"]]
    assert len(set(texts)) == len(texts) == 5 * len(images)


def scene(**changes: Any) -> Scene:
    facts: dict[str, Any] = {
        "thing": Thing("dog", "red"), "count": 1, "size": "medium", "place": "beach",
        "weather": "clear", "style": "photo",
    }  # fmt: skip
    return Scene(**(facts | changes))


CAT_ABOVE_DOG = scene(thing=Thing("cat", "blue"), other=Thing("dog", "red"), relation="above")


@pytest.mark.parametrize(
    ("seen", "caption_of", "true"),
    [
        (scene(), scene(), True),
        (scene(size="large"), scene(), True),
        (scene(), scene(size="large"), False),
        (scene(place="farm"), scene(), False),
        (scene(thing=Thing("dog", "blue")), scene(), False),
        # A red dog is also there when it is the second object, though not a large one.
        (CAT_ABOVE_DOG, scene(), True),
        (CAT_ABOVE_DOG, scene(size="large"), False),
        # "A dog below a cat" is true of a cat above a dog.
        (CAT_ABOVE_DOG, scene(other=Thing("cat", "blue"), relation="below"), True),
        (CAT_ABOVE_DOG, scene(other=Thing("cat", "blue"), relation="above"), False),
        (scene(), scene(other=Thing("cat", "blue"), relation="beside"), False),
    ],
)
def test_when_a_full_caption_is_true_of_another_scene(seen, caption_of, true):
    assert satisfies(seen, source=caption_of) is true


def test_about_15_per_cent_show_compositions_that_training_never_sees(dataset):
    marks = [image["held_out"] for image in dataset["images"]]
    scenes = [scene_from_facts(image["scene"]) for image in dataset["images"]]
    assert marks == [is_held_out(scene) for scene in scenes]
    assert sum(marks) / SCENES == pytest.approx(0.15, abs=0.06)


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
    with pytest.raises(InputError, match="something else"):
        World(seed=4).write_benchmark(out, 5, twins=1)


def test_more_scenes_than_captions_can_tell_apart_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "MOST_TRIES", 1)  # as if the world had run out of scenes
    with pytest.raises(InputError, match="that no caption confuses; ask for fewer"):
        World(seed=1).write_benchmark(tmp_path / "benchmark", 2_000, image_size=16)
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
    twins = [row for row in hard if row["twin_of"] is not None]
    assert len(twins) == 160  # four of each five
    changed = set()
    for row in twins:
        base = hard[row["imgid"] - row["imgid"] % (TWINS + 1)]
        assert base["imgid"] == row["twin_of"] and base["twin_of"] is None
        (name,) = (name for name, fact in row["scene"].items() if fact != base["scene"][name])
        changed.add(name)
    assert changed >= {"kind", "colour", "place", "count"}
