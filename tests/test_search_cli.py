"""Search on the command line: line by line, whatever the disk, the encoding and the names are."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordPiece

from align_edu import Align, load_run
from align_edu.cli import main
from align_edu.io import InputError, read_json, write_json
from align_edu.presets import IMAGE_SIZES, get_preset
from align_edu.search import Hit, ImageIndex
from align_edu.search.towers import PlainTowers, load_plain_towers
from align_edu.show.report import save_search_picture
from align_edu.training.run import Run
from tests.samples import MODEL, ColourRun, write_photos

TEXTS = ["a red cat", "two dogs in the snow at night", "\ud83d", "snow " * 99]
CODE = "import sys; from align_edu.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    write_photos(folder / "photos")
    assert main(["index", str(MODEL), str(folder / "photos"), str(folder / "index")]) == 0
    return folder / "index"


def test_the_towers_in_plain_torch_equal_the_whole_model():
    towers, run = load_plain_towers(MODEL), load_run(MODEL)
    assert towers is not None
    texts = run.encode_texts(TEXTS)
    assert (towers.encode_texts(TEXTS) - texts).abs().max() <= 1e-5
    assert (texts[0] - texts[1]).abs().max() > 0.01
    noise = np.random.default_rng(0).integers(0, 256, (2, 60, 80, 3), np.uint8)
    pictures = [*map(Image.fromarray, noise), Image.new("RGB", (40, 200), "red")]
    assert (towers.encode_images(pictures) - run.encode_images(pictures)).abs().max() <= 1e-5


@pytest.mark.parametrize("padding", ["tf_static", "same", "symmetric"])
def test_plain_towers_take_every_padding_depth_and_projection(padding):
    image = replace(
        IMAGE_SIZES["B1"], width=0.3, padding=padding, projection=24, resize=77, crop=65
    )
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


def test_a_search_imports_neither_transformers_nor_torchvision(index):
    """tests/benchmarks/search_start.py counts its seconds of CPU."""
    code = CODE.replace("sys.exit(main())", "main(); print(*sorted(sys.modules))")
    command = [sys.executable, "-c", code, "search", str(index), "--image", "red.png"]
    done = subprocess.run(
        [*command, "--plus", "snow", "--top", "2"],
        capture_output=True, text=True, check=True, cwd=index.parent / "photos",
    )  # fmt: skip
    *hits, _, modules = done.stdout.splitlines()
    assert len(hits) == 2
    heavy = {"transformers", "torchvision", "matplotlib", "torch._dynamo", "scipy", "sklearn"}
    assert heavy.isdisjoint(modules.split())


def test_without_a_text_each_line_of_input_is_answered(index, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("a red cat\ngreen::2\n::\n\nnever read\n"))
    assert main(["search", str(index), "--top", "1", "--json"]) == 0
    told = capsys.readouterr()
    answers = [json.loads(line) for line in told.out.splitlines()]
    assert [answer["query"] for answer in answers] == ["a red cat", "green::2", "::"]
    monkeypatch.setattr("sys.stdin", io.StringIO(" \n"))
    assert main(["search", str(index)]) == 0 and capsys.readouterr().out == ""


def test_hits_come_even_where_no_picture_can_be_written(index, tmp_path, capsys):
    picture = tmp_path / "file" / "found.png"  # even root cannot write into a file
    picture.parent.write_text("")
    assert main(["search", str(index), "a red cat", "--picture", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and "cannot be written" in lines[-1]
    command = ["search", str(index), "a cat", "--picture", str(picture), "--json"]
    assert main(command) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["hits"]) == 4 and answer["picture"] is None


def test_a_thousand_hits_are_listed_and_the_first_hundred_drawn(tmp_path):
    Image.new("RGB", (20, 20), (200, 30, 30)).save(tmp_path / "red.png")
    hits = [Hit(tmp_path / "red.png", 1 - n / 2000, n) for n in range(1, 1001)]
    hits[1] = Hit(tmp_path / "gone-\udcff猫.png", 0.5, 2)
    path = save_search_picture(tmp_path / "found.png", "red \udcff " * 40, hits)
    shown = np.asarray(Image.open(path))  # (H, W, 3)
    assert shown.shape[1] == 800 and 20 * 160 < shown.shape[0] < 20 * 220
    # The middle of the first cell is red, that of the second, a missing picture, light grey.
    assert np.abs(shown[116, 80].astype(int) - [200, 30, 30]).max() < 4
    assert shown[116, 240].min() > 200 and len(np.unique(shown[40:, 240].min(axis=-1))) > 1


def test_the_programs_own_picture_is_not_indexed(tmp_path):
    run, photos = ColourRun(tmp_path / "run"), write_photos(tmp_path / "photos")
    index = ImageIndex.build(run, photos)
    folder = index.save(photos / "index")
    save_search_picture(folder / "search.png", "red", index.search(torch.eye(3)[0], 1))
    assert len(ImageIndex.build(run, photos)) == 4
    Image.new("RGB", (9, 9)).save(photos / "search.png")  # a user's own may have the name
    assert len(ImageIndex.build(run, photos)) == 5


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has only UTF-8 names")
def test_a_name_that_is_not_utf8_is_indexed_found_and_printed(tmp_path, capsys):
    run, photos = ColourRun(tmp_path / "run"), write_photos(tmp_path / "photos")
    odd = os.fsdecode(bytes(photos) + b"/caf\xe9\xe2\x80\xa8.png")  # Latin-1, and a line separator
    (photos / "red.png").rename(odd)
    folder = ImageIndex.build(run, photos).save(tmp_path / "index")
    (hit,) = ImageIndex.load(folder).search(torch.eye(3)[0], 1)
    assert hit.path == Path(odd) and hit.path.exists()
    write_json(tmp_path / "one.json", {"name": odd})
    assert read_json(tmp_path / "one.json") == {"name": odd}
    np.save(tmp_path / "all.npy", np.eye(3, dtype=np.float32)[:2])
    (tmp_path / "all.txt").write_bytes(os.fsencode(odd) + b"\nother\n")
    run.encode_texts = lambda texts: torch.eye(3)[: len(texts)]  # type: ignore[method-assign]
    assert ImageIndex.build(run, tmp_path / "all.npy").files[0] == Path(odd)
    photos.rename(tmp_path / "pictures")
    assert main(["index", str(MODEL), str(tmp_path / "pictures"), str(tmp_path / "toy")]) == 0
    capsys.readouterr()
    assert main(["search", str(tmp_path / "toy"), "red", "--top", "4"]) == 0
    assert "caf\\udce9" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("encoding", "output", "status", "told"),
    [
        ("ascii", "pipe", 0, ""),
        ("utf-8", "/dev/full", 1, "align-edu: standard output: cannot be written (No space left"),
    ],
)
def test_a_standard_output_of_any_kind_gives_an_answer_or_one_sentence(
    encoding, output, status, told
):
    code = (
        "import sys; import align_edu.cli as cli;"
        "cli._doctor = lambda: ({}, 'naïve 猫 \\udcff'); sys.exit(cli.main(['doctor']))"
    )
    with open(os.devnull if output == "pipe" else output, "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE if output == "pipe" else full,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONIOENCODING": encoding},
        )
    assert done.returncode == status
    assert done.stderr.decode().startswith(told) and done.stderr.count(b"\n") == bool(told)
    if output == "pipe":
        assert done.stdout == b"na\\xefve \\u732b \\udcff\n"


def test_an_interrupted_index_continues_and_leaves_nothing_unfinished(
    tmp_path, monkeypatch, capsys
):
    """tests/test_embed.py proves that the result is the same."""
    monkeypatch.setattr("align_edu.evaluation.embed.PICTURES", 1)
    monkeypatch.setattr("align_edu.evaluation.embed.BLOCK", 1)
    photos, out = write_photos(tmp_path / "photos"), tmp_path / "out"
    encode, calls = Run.encode_images, []

    def interrupted(self: Run, pictures: list) -> torch.Tensor:
        calls.append(len(pictures))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(self, pictures)

    monkeypatch.setattr(Run, "encode_images", interrupted)
    command = ["index", str(MODEL), str(photos), str(out)]
    assert main(command) == 1 and "the same command continues it" in capsys.readouterr().err
    assert main(command) == 0 and len(calls) == 3 + 2  # two were finished before
    assert sorted(p.name.split("-")[0] for p in out.iterdir()) == ["images.json", "vectors"]
    assert len(ImageIndex.load(out)) == 4


def test_a_git_lfs_pointer_is_named_with_its_remedy(tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((MODEL / name).read_bytes())
    (tmp_path / "model.safetensors").write_text(pointer)
    with pytest.raises(InputError, match=r"model\.safetensors: a Git LFS pointer.*git lfs pull"):
        load_run(tmp_path)
    (tmp_path / "config.json").write_text(pointer)
    with pytest.raises(InputError, match=r"config\.json: a Git LFS pointer.*git lfs pull"):
        load_run(tmp_path)
