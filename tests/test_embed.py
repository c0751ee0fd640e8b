"""Embedding pictures: the same bits however they are read; a broken one costs nothing else."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from align_edu import load_run
from align_edu.evaluation import embed
from align_edu.evaluation.embed import embed_images, read_ahead
from align_edu.pairs.images import decode_image
from tests.samples import MODEL, ColourRun


@pytest.fixture
def files(tmp_path):
    """Write pictures of many sizes, two of them broken, one with a name that is not UTF-8."""
    made = []
    for i in range(75):
        name = os.fsdecode(b"caf\xe9.png") if i == 40 else f"{i:03}.png"
        made.append(tmp_path / name)
        pixels = np.random.default_rng(i).integers(0, 256, (90 - i, 20 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(made[-1])
    made[3].write_bytes(made[3].read_bytes()[:60])
    made[50].unlink()
    return made


def test_embeddings_are_those_of_plain_batches_and_broken_pictures_are_named(files):
    run = load_run(MODEL)
    found = embed_images(run, files)
    assert found.skipped == {files[3]: "truncated", files[50]: "unreadable file"}
    assert found.reasons() == "1 truncated, 1 unreadable file"
    whole = [file for file in files if file not in found.skipped]
    assert found.files == whole and len(whole) == 73
    pictures = {file: decode_image(file.read_bytes()) for file in whole}
    batches = [[pictures[f] for f in files[i : i + 32] if f in pictures] for i in (0, 32, 64)]
    assert torch.equal(found.embeddings, torch.cat([run.encode_images(each) for each in batches]))


def test_finished_work_is_kept_until_a_picture_changes(files, tmp_path):
    run, opened = load_run(MODEL), []

    def read(i: int) -> Image.Image:
        opened.append(i)
        return decode_image(files[i].read_bytes())

    first, again = (embed_images(run, files, read, resume=tmp_path / "kept") for _ in range(2))
    assert len(opened) == 75 and torch.equal(first.embeddings, again.embeddings)
    Image.new("RGB", (9, 9)).save(files[0])  # another picture of that name
    embed_images(run, files, read, resume=tmp_path / "kept")
    assert len(opened) == 150


def test_reading_runs_ahead_of_the_model_but_only_so_far():
    started: list[int] = []
    batches = read_ahead(started.append, range(4, 100), 10, "numbers", False)
    assert len(next(batches)) == 10
    time.sleep(0.2)
    assert max(started) <= 4 + 10 * (2 + embed.AHEAD)
    assert sum(map(len, batches)) == 86 and sorted(started) == list(range(4, 100))


def test_a_batch_that_does_not_fit_is_halved(files):
    class SmallGpu(ColourRun):
        def encode_images(self, pictures: list[Image.Image]) -> torch.Tensor:
            if len(pictures) > 5:
                raise torch.OutOfMemoryError
            return super().encode_images(pictures)

    small = embed_images(SmallGpu(Path()), files)
    assert torch.equal(small.embeddings, embed_images(ColourRun(Path()), files).embeddings)
