"""Search: an exact index, whole on disk; sums of meanings, and how often those find; commands."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from torch import Tensor
from torch.nn import functional as F

from align_edu import Align, load_run
from align_edu.cli import main
from align_edu.io import only_writer
from align_edu.presets import IMAGE_SIZES, get_preset
from align_edu.search import Hit, ImageIndex, combine_query, search
from align_edu.search import vectors as faiss_vectors
from align_edu.search.towers import PlainTowers, load_plain_towers
from align_edu.show.report import save_search_picture
from align_edu.training.run import Run
from align_edu.world.arithmetic import Quiz, ask, measure_arithmetic
from align_edu.world.scene import ATTRIBUTES, child_rng, distractors, is_held_out, sample_edit
from tests.samples import COLOURS, MODEL, ColourRun, cases, refused, write_files, write_photos

THREE = ["a.jpg", "b.jpg", "c.jpg"]
RUN = ColourRun(Path("run"))
INDEX = ImageIndex(torch.eye(3), THREE)
OTHER = "not an index that this version reads"
TEXTS = ["a red cat", "two dogs in the snow at night", "\ud83d", "snow " * 99]
CODE = "import sys; from align_edu.cli import main; sys.exit(main())"
GENERATOR = torch.Generator().manual_seed(23)
# The fields of a scene that each edit may touch.
TOUCHED = {
    "colour": {"thing"}, "place": {"place"}, "object": {"thing"}, "weather": {"weather"},
    "style": {"style"}, "count": {"count"}, "added": {"other", "relation"},
    "removed": {"other", "relation"},
}  # fmt: skip


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


@pytest.fixture
def run(tmp_path):
    return ColourRun(tmp_path / "run")


def unit(*size: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*size, generator=torch.Generator().manual_seed(seed)), dim=-1)


def index_of(vectors: Tensor, **options) -> ImageIndex:
    return ImageIndex(vectors, [f"/made/{row}" for row in range(len(vectors))], **options)


def rows_of(index: ImageIndex, query: Tensor, k: int) -> list[int]:
    return [int(hit.path.name) for hit in index.search(query, k)]


def best(vectors: Tensor, query: Tensor, k: int) -> list[int]:
    scores = vectors.double().numpy() @ query.double().numpy()
    return np.argsort(-scores, kind="stable")[:k].tolist()


def test_search_equals_brute_force_in_numpy_also_where_scores_are_equal():
    vectors, queries = unit(500, 24), unit(25, 24, seed=1)
    whole = torch.randint(-1, 2, (300, 6), generator=torch.Generator().manual_seed(8)).float()
    for rows, asked, k in ((vectors, queries, 7), (whole, whole[:12], 300)):
        for query, hits in zip(asked, index_of(rows).search_many(asked, k), strict=True):
            assert [int(hit.path.name) for hit in hits] == (expected := best(rows, query, k))
            scores = (rows.double() @ query.double())[expected].tolist()
            assert [hit.score for hit in hits] == pytest.approx(scores, rel=1e-5)
            assert [hit.rank for hit in hits] == list(range(1, k + 1))
    many = index_of(unit(3_000, 24), kind="approximate").search(unit(24), 5_000)
    assert len(many) > 2_900  # k above the size


def test_the_float16_copy_finds_the_best_in_memory_and_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(faiss_vectors, "HALVED_FROM", 100)
    vectors = unit(3_000, 24)
    vectors[2_900:] = vectors[5]  # equal vectors come in order
    index = index_of(vectors)
    again = ImageIndex.load(index.save(tmp_path / "index"))
    kinds = sorted(file.name.split("-")[0] for file in (tmp_path / "index").iterdir())
    assert kinds == ["halves", "images.json", "vectors"]
    for k in (1, 10, 3_000):
        for query in (vectors[5], *unit(3, 24, seed=1)):
            assert rows_of(index, query, k) == rows_of(again, query, k) == best(vectors, query, k)
    long = index_of(3 * vectors[:500])  # not of length 1: searched in float32
    assert long._vectors.halves is None and rows_of(long, vectors[7], 1) == [7]


def test_vectors_closer_than_float16_resolves_are_told_apart(monkeypatch):
    # All within 1e-4 of one direction, where float16 keeps 5e-4: candidates must become all.
    monkeypatch.setattr(faiss_vectors, "HALVED_FROM", 100)
    vectors = F.normalize(unit(1, 24) + 1e-4 * unit(2_000, 24, seed=2), dim=-1)
    index = index_of(vectors)
    for query in F.normalize(unit(1, 24) + unit(20, 24, seed=3), dim=-1):
        scores = vectors.double() @ query.double()
        worst = scores[rows_of(index, query, 10)].min()
        assert worst >= scores.topk(10).values[-1] - 1e-7  # float32's own rounding


@cases(
    "act, sentence",
    (lambda _: INDEX.search(torch.ones(3), 0), "k is 0"),
    (lambda _: INDEX.search(torch.ones(4), 1), "width 3"),
    (lambda _: INDEX.search(torch.tensor([1.0, torch.nan, 0.0]), 1), "not finite"),
    (lambda _: ImageIndex(torch.eye(3), ["a.jpg"]), "one per file"),
    (lambda _: ImageIndex(torch.full((3, 3), torch.nan), THREE), "not finite"),
    (lambda _: ImageIndex(torch.eye(3), THREE, kind="fast"), "exact or approximate"),
    (lambda _: ImageIndex.build(RUN, []), r"no image can be read \(none given\)"),
    (lambda at: ImageIndex.build(RUN, at / "texts"), "no images in it"),
    (lambda at: ImageIndex.build(RUN, at / "cut"), r"no image can be read \(1 empty file\)"),
    (lambda at: ImageIndex.build(RUN, at / "x"), "no such folder"),
    (lambda _: search(INDEX, "red"), "names no run"),
    (lambda _: search(INDEX, run=RUN), "nothing to search for"),
    (lambda _: search(INDEX, minus=["red"], run=RUN), "nothing to search for"),
    (lambda _: search(INDEX, "red", plus=[""], run=RUN), "is empty"),
    (lambda at: search(INDEX, image=at / "gone.png", run=RUN), "not a readable image"),
)
def test_what_cannot_be_indexed_or_searched_is_refused(act, sentence, tmp_path):
    write_files(tmp_path, {"texts/readme.txt": "no picture", "cut/cut.jpg": ""})
    refused(sentence, act, tmp_path)


@cases(
    "rows,text,sentence",
    (np.array([[3, 0, 0], [0, 0, 2]], np.float32), "red.png\nmore/blue.png\n", None),
    (np.array([[3, 0, 0], [0, 0, 2]], np.float16), "red.png\nmore/blue.png\n", None),
    (np.eye(3, dtype=np.float32), "a\n\nc\n", "2 names for 3 embeddings"),
    (np.eye(3, dtype=np.float32), None, "No such file.*all.txt"),
    (np.eye(4, dtype=np.float32), "a\nb\nc\nd\n", r"\(4, 4\); this run's .* \(N, 3\)"),
    (np.eye(3), "a\nb\nc\n", "float64"),
    (np.zeros((1, 3), np.float32), "a\n", "row 0 is zero"),
    (np.array([[{}]]), "a\n", "not readable embeddings"),
)
def test_embeddings_from_a_file_are_indexed_or_refused(rows, text, sentence, tmp_path, run):
    np.save(tmp_path / "all.npy", rows)
    if text is not None:
        (tmp_path / "all.txt").write_text(text)
    # The stub knows no word but colours, and is asked for its width by another one.
    run.encode_texts = lambda texts: torch.eye(3)[: len(texts)]  # type: ignore[method-assign]
    if sentence is None:
        (hit,) = ImageIndex.build(run, tmp_path / "all.npy").search(torch.eye(3)[2], 1)
        assert hit.path == tmp_path / "more" / "blue.png" and hit.score == pytest.approx(1.0)
    else:
        refused(sentence, ImageIndex.build, run, tmp_path / "all.npy")


@pytest.mark.parametrize("kind", ["exact", "approximate"])
def test_a_saved_index_gives_the_same_hits_wherever_it_moves(kind, photos, run, tmp_path):
    (photos / "cut.png").write_bytes((photos / "red.png").read_bytes()[:50])
    (photos / "fake.jpg").write_text("I am no picture")
    index = ImageIndex.build(run, photos, kind=kind)
    assert sorted(file.stem for file in index.files) == sorted(COLOURS)
    reasons = {"cut.png": "truncated", "fake.jpg": "not an image"}
    assert index.skipped == {photos / name: reason for name, reason in reasons.items()}
    folder = index.save(tmp_path / "index")
    loaded, queries = ImageIndex.load(folder), unit(9, 3)
    assert loaded.kind == kind
    assert loaded.search_many(queries, 4) == index.search_many(queries, 4)
    assert loaded.run == tmp_path / "run" and loaded.skipped == index.skipped
    moved = tmp_path.rename(tmp_path.with_name(f"moved {kind}"))
    hits = ImageIndex.load(moved / "index").search(torch.tensor([1.0, 0, 0]), 1)
    assert hits[0].path == moved / "photos" / "red.png" and hits[0].path.is_file()


def described_as(**changes):
    return lambda data: json.dumps(json.loads(data) | changes).encode()


@cases(
    "name,damage,sentence",
    ("vectors-*", None, "missing or damaged"),
    ("images.json", None, "no index in it"),
    ("vectors-*", lambda data: data[:-1] + b"!", "missing or damaged"),
    ("images.json", lambda data: b"{", "not readable JSON"),
    ("images.json", described_as(parts=None), OTHER),
    ("images.json", described_as(images=["one.jpg"]), OTHER),
    ("images.json", described_as(images=[1, 2, 3]), OTHER),
    ("images.json", described_as(skipped=["one.jpg"]), OTHER),
)
def test_a_damaged_index_is_refused_with_the_remedy(name, damage, sentence, tmp_path):
    folder = ImageIndex(torch.eye(3), THREE).save(tmp_path / "index")
    (file,) = folder.glob(name)
    file.unlink() if damage is None else file.write_bytes(damage(file.read_bytes()))
    line = refused(sentence, ImageIndex.load, folder)
    assert "align-edu index RUN IMAGES OUT" in line or "JSON" in sentence


def save_and_die(folder: Path, step: str, calls: int) -> None:
    """Save an index of four images, and die just before the given call of a method of Path."""
    method, left = getattr(Path, step), [calls]

    def counted(self: Path, *args, **options):
        left[0] -= str(self).startswith(str(folder))
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(self, *args, **options)

    setattr(Path, step, counted)
    ImageIndex(torch.eye(4), list("abcd")).save(folder)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@cases(
    "step, calls, before, after", ("replace", 1, 0, 0), ("replace", 2, 2, 2), ("unlink", 3, 2, 4)
)
def test_a_killed_save_leaves_a_whole_index_or_none(step, calls, before, after, tmp_path):
    folder = tmp_path / "index"
    if before:
        ImageIndex(torch.eye(before), ["x", "y"]).save(folder)
    child = os.fork()  # a new interpreter would take seconds to import
    if child == 0:
        try:
            save_and_die(folder, step, calls)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    if after:
        assert len(ImageIndex.load(folder)) == after
    else:
        refused("no index in it", ImageIndex.load, folder)
    # The next save works, and leaves nothing of the killed one.
    ImageIndex(torch.eye(3), THREE).save(folder)
    assert len(ImageIndex.load(folder)) == 3
    assert len(list(folder.iterdir())) == 2


@pytest.fixture
def index(photos, run):
    return ImageIndex.build(run, photos)


@cases(
    "terms,sentence",
    ([], "no terms"),
    ([(1, torch.ones(3)), (-1, torch.ones(3))], "cancel out"),
    ([(1, torch.ones(3)), (1, torch.ones(4))], r"terms \[\(3,\), \(4,\)\]"),
    ([(1, torch.ones(2, 3))], "of one model"),
    ([(1, torch.zeros(3))], "zero or not finite"),
    ([(float("nan"), torch.ones(3))], "finite number"),
)
def test_a_query_that_points_nowhere_is_refused(terms, sentence):
    refused(sentence, combine_query, terms)


@cases(
    "question, scores",  # by hand, from the colours' vectors; purple is (1, 0, 1) / sqrt(2)
    ({"text": "green", "top": 2}, {"green": 1, "blue": 0}),
    ({"text": "red", "plus": ["blue"], "top": 2}, {"purple": 1, "blue": 0.5**0.5}),
    ({"text": "purple", "minus": ["red"], "top": 1}, {"blue": 0.5**0.5 / (2 - 2**0.5) ** 0.5}),
    ({"plus": ["green", "blue::0.5"], "top": 2}, {"green": 2 / 5**0.5, "blue": 1 / 5**0.5}),
    ({"text": "green", "image": "red.png", "top": 1}, {"green": 2 / 5**0.5}),
    ({"image": "red.png", "top": 1}, {"purple": 0.5**0.5}),
    ({"image": "link/red.png", "top": 9}, {"purple": 0.5**0.5, "green": 0, "blue": 0}),
)
def test_words_and_pictures_find_what_they_describe(question, scores, index, photos, run):
    (photos / "link").symlink_to(photos)
    if "image" in question:
        question = question | {"image": photos / question["image"]}
    hits = search(index, run=run, **question)
    assert {hit.path.stem: hit.score for hit in hits} == pytest.approx(scores, abs=1e-6)
    assert hits[0].path.stem == next(iter(scores))


def test_an_index_of_another_model_is_refused(photos, run):
    other = ColourRun(photos.parent / "other")
    for model, weights in ((run, b"one"), (other, b"two")):
        model.folder.mkdir()
        (model.folder / "model.safetensors").write_bytes(weights)
    folder = ImageIndex.build(run, photos).save(photos.parent / "index")
    (hit,) = search(folder, "red", top=1, run=run)
    assert hit.path.stem == "red"
    (run.folder / "model.safetensors").write_bytes(b"trained on")
    for model in (run, other):
        refused("not the model that built this index", search, folder, "red", run=model)


@pytest.fixture(scope="module")
def toy_index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    write_photos(folder / "photos")
    assert main(["index", str(MODEL), str(folder / "photos"), str(folder / "index")]) == 0
    return folder / "index"


def test_the_towers_in_plain_torch_equal_the_whole_model():
    towers, run = load_plain_towers(MODEL), load_run(MODEL)
    texts = run.encode_texts(TEXTS)
    assert (towers.encode_texts(TEXTS) - texts).abs().max() <= 1e-5
    assert (texts[0] - texts[1]).abs().max() > 0.01
    noise = np.random.default_rng(0).integers(0, 256, (2, 60, 80, 3), np.uint8)
    pictures = [*map(Image.fromarray, noise), Image.new("RGB", (40, 200), "red")]
    assert (towers.encode_images(pictures) - run.encode_images(pictures)).abs().max() <= 1e-5


@pytest.mark.parametrize("padding", ["tf_static", "same", "symmetric"])
def test_plain_towers_take_every_padding_depth_and_projection(padding):
    sizes = {"width": 0.3, "padding": padding, "projection": 24, "resize": 77, "crop": 65}
    image = replace(IMAGE_SIZES["B1"], **sizes)
    preset = replace(get_preset("toy"), image=image)
    model = Align(preset, 50).eval()
    with torch.no_grad():
        for tensor in model.image_tower.state_dict().values():  # BatchNorm's are 0 and 1
            if tensor.ndim == 1:
                tensor.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(0))
    towers = PlainTowers(MODEL, preset, Tokenizer(WordPiece()), model.state_dict())
    run = Run(MODEL, preset, None, model)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (77, 77, 3), np.uint8))
    ours, theirs = towers.encode_images([picture]), run.encode_images([picture])
    assert ours.shape == (1, 24) and (ours - theirs).abs().max() <= 1e-5


def test_a_search_imports_neither_transformers_nor_torchvision(toy_index):
    code = CODE.replace("sys.exit(main())", "main(); print(*sorted(sys.modules))")
    command = [sys.executable, "-c", code, "search", str(toy_index), "--image", "red.png"]
    command += ["--plus", "snow", "--top", "2"]
    options = {"capture_output": True, "text": True, "check": True}
    done = subprocess.run(command, cwd=toy_index.parent / "photos", **options)
    *hits, _, modules = done.stdout.splitlines()
    assert len(hits) == 2
    heavy = {"transformers", "torchvision", "matplotlib", "torch._dynamo", "scipy", "sklearn"}
    assert heavy.isdisjoint(modules.split())


def test_without_a_text_each_line_of_input_is_answered(toy_index, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("a red cat\ngreen::2\n::\n\nnever read\n"))
    assert main(["search", str(toy_index), "--top", "1", "--json"]) == 0
    told = capsys.readouterr()
    answers = [json.loads(line) for line in told.out.splitlines()]
    assert [answer["query"] for answer in answers] == ["a red cat", "green::2", "::"]
    monkeypatch.setattr("sys.stdin", io.StringIO(" \n"))
    assert main(["search", str(toy_index)]) == 0 and capsys.readouterr().out == ""
    latin = io.TextIOWrapper(io.BytesIO("café\n".encode("latin-1")), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", latin)
    assert main(["search", str(toy_index), "--top", "1"]) == 0 and capsys.readouterr().out


def test_hits_come_even_where_no_picture_can_be_written(toy_index, tmp_path, capsys):
    picture = tmp_path / "file" / "found.png"  # even root cannot write into a file
    picture.parent.write_text("")
    assert main(["search", str(toy_index), "a red cat", "--picture", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and "cannot be written" in lines[-1]


def test_a_thousand_hits_are_listed_and_the_first_hundred_drawn(tmp_path):
    Image.new("RGB", (20, 20), (200, 30, 30)).save(tmp_path / "red.png")
    hits = [Hit(tmp_path / "red.png", 1 - n / 2000, n) for n in range(1, 1001)]
    hits[1] = Hit(tmp_path / "gone-\udcff猫.png", 0.5, 2)
    path = save_search_picture(tmp_path / "found.png", "red \udcff " * 40, hits)
    width, height = Image.open(path).size
    assert width == 800 and 20 * 160 < height < 20 * 220


def test_the_programs_own_picture_is_not_indexed(index, run, photos):
    folder = index.save(photos / "index")
    save_search_picture(folder / "search.png", "red", index.search(torch.eye(3)[0], 1))
    assert len(ImageIndex.build(run, photos)) == 4
    Image.new("RGB", (9, 9)).save(photos / "search.png")  # a user's own may have the name
    assert len(ImageIndex.build(run, photos)) == 5


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has only UTF-8 names")
def test_a_name_that_is_not_utf8_is_indexed_found_and_printed(run, photos, tmp_path, capsys):
    odd = os.fsdecode(bytes(photos) + b"/caf\xe9\xe2\x80\xa8.png")  # Latin-1, and a line separator
    (photos / "red.png").rename(odd)
    folder = ImageIndex.build(run, photos).save(tmp_path / "index")
    (hit,) = ImageIndex.load(folder).search(torch.eye(3)[0], 1)
    assert hit.path == Path(odd) and hit.path.exists()
    photos.rename(tmp_path / "pictures")
    command = ["index", str(MODEL), str(tmp_path / "pictures"), str(tmp_path / "toy")]
    with only_writer(tmp_path / "toy"):
        assert main(command) == 2
    assert "another process is writing" in capsys.readouterr().err
    assert main(command) == 0
    capsys.readouterr()
    assert main(["search", str(tmp_path / "toy"), "red", "--top", "4"]) == 0
    assert "caf\\udce9" in capsys.readouterr().out


@cases(
    "encoding, output, told",
    ("ascii", "answer", ""),
    ("utf-8", "/dev/full", "align-edu: standard output: cannot be written (No space left"),
)
def test_any_standard_output_gives_an_answer_or_one_sentence(encoding, output, told, tmp_path):
    code = (
        "import sys; import align_edu.cli as cli;"
        "cli._doctor = lambda: ({}, 'naïve 猫 \\udcff'); sys.exit(cli.main(['doctor']))"
    )
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    with (tmp_path / output).open("wb") as out:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, env=environment)
    assert done.returncode == bool(told) == done.stderr.count(b"\n")
    assert done.stderr.decode().startswith(told)
    assert told or (tmp_path / output).read_bytes() == b"na\\xefve \\u732b \\udcff\n"


def test_an_interrupted_index_continues_to_the_same_bits(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("align_edu.evaluation.embed.PICTURES", 1)
    monkeypatch.setattr("align_edu.evaluation.embed.BLOCK", 1)
    encode, calls = Run.encode_images, []

    def interrupted(self: Run, pictures: list) -> torch.Tensor:
        calls.append(len(pictures))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(self, pictures)

    whole, out = ["index", str(MODEL), str(photos), str(tmp_path / "whole")], tmp_path / "out"
    assert main(whole) == 0
    monkeypatch.setattr(Run, "encode_images", interrupted)
    command = [*whole[:3], str(out)]
    assert main(command) == 1 and "the same command continues it" in capsys.readouterr().err
    assert main(command) == 0 and len(calls) == 3 + 2  # two were finished before
    files = [sorted(file.name for file in folder.iterdir()) for folder in (out, tmp_path / "whole")]
    assert files[0] == files[1] and len(files[0]) == 2  # the vectors' name holds their hash


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_an_edit_changes_one_fact_and_says_which(attribute):
    for number in range(30):
        rng = child_rng(5, number)
        edit = sample_edit(attribute, rng)
        before, after = edit.before, edit.after
        facts = asdict(after)
        changed = {name for name, fact in asdict(before).items() if fact != facts[name]}
        assert changed == TOUCHED[attribute]
        if attribute == "colour":
            assert before.thing.kind == after.thing.kind
            assert after.thing.colour in edit.plus and before.thing.colour in edit.minus
        if attribute == "object":
            assert before.thing.colour == after.thing.colour
        assert (edit.plus == "") == (attribute == "removed")
        assert (edit.minus == "") == (attribute == "added")
        assert not is_held_out(before) and not {before, after} & set(distractors(edit, rng))


def test_ties_count_as_wrong_and_embeddings_that_are_not_finite_are_refused():
    same, right = torch.ones(4, 3), torch.eye(4, dtype=torch.bool)
    assert ask(Quiz(same, same, 0 * same, same / 3**0.5, right)).tolist() == [4, 4, 4, 4]
    broken = same.index_fill(0, torch.tensor([0]), torch.nan)
    for quiz in (Quiz(broken, same, same, same, right), Quiz(same, same, same, broken, right)):
        refused("not finite", ask, quiz)


class Random:
    def encode_images(self, pictures: list) -> Tensor:
        return F.normalize(torch.randn(len(pictures), 16, generator=GENERATOR), dim=1)

    encode_texts = encode_images


def test_a_random_model_is_at_chance_and_a_trained_one_far_above():
    for name in ("place", "colour"):
        random, trained = (
            measure_arithmetic(run, attributes=(name,), queries=40)["attributes"][name]
            for run in (Random(), load_run(MODEL))
        )
        assert random["one to one"]["success@1"] < 0.1
        assert random["chance"] == pytest.approx(1 / random["gallery"], rel=0.2)
        best = max(trained["image"]["success@1"], trained["text"]["success@1"])
        low, high = trained["one to one"]["interval"]
        assert low <= trained["one to one"]["success@1"] <= high
        assert trained["one to one"]["success@1"] > 2 * best


def test_the_command_line_measures_it_and_the_same_seed_gives_the_same(tmp_path, answer, capsys):
    run = shutil.copytree(MODEL, tmp_path / "run")
    command = ["evaluate", run, "--task", "arithmetic", "--queries", 2]
    answers = [answer(*command, *seed) for seed in ([], ["--seed", 0])]
    assert answers[0] == answers[1] and set(answers[0]["attributes"]) == set(ATTRIBUTES)
    assert main([*map(str, command[:-1]), "0"]) == 2
    assert "queries 0: give a whole number of at least 1" in capsys.readouterr().err
