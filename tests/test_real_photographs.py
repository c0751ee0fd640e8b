"""Training on real photographs and the alt-text that their authors wrote."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from align_edu.presets import get_preset, replace_fields
from align_edu.training import train
from align_edu.training.metrics import read_metrics

REAL = Path(__file__).parents[2] / "shared" / "real"
needs_real = pytest.mark.skipif(
    not REAL.exists(), reason="the real photographs (../shared/real) are not on this machine"
)


def real_pairs():
    """Photographs with their texts: COCO's five captions each, and recipes' alt-text."""
    captions = json.loads((REAL / "coco" / "captions.json").read_text())
    names = {image["id"]: image["file_name"] for image in captions["images"]}
    for note in captions["annotations"]:
        yield REAL / "coco" / "images" / names[note["image_id"]], note["caption"]
    for line in (REAL / "recipes" / "pairs.tsv").read_text().splitlines():
        name, text = line.split("\t")[:2]
        if (REAL / "recipes" / "images" / name).exists():
            yield REAL / "recipes" / "images" / name, text


def write_shard(path):
    """Write the real pairs as one shard in img2dataset's webdataset layout."""
    with tarfile.open(path, "w") as tar:
        for i, (file, text) in enumerate(real_pairs()):
            data = file.read_bytes()
            about = {"caption": text, "sha256": hashlib.sha256(data).hexdigest()}
            for ending, body in (
                (file.suffix, data),
                (".txt", text.encode()),
                (".json", json.dumps(about).encode()),
            ):
                member = tarfile.TarInfo(f"{i:09d}{ending}")
                member.size = len(body)
                tar.addfile(member, io.BytesIO(body))


@needs_real
def test_two_hundred_steps_on_real_photographs_lower_the_loss(tmp_path):
    write_shard(tmp_path / "00000.tar")
    preset = replace_fields(
        get_preset("toy"), {"recipe.batch_size": "32", "recipe.compile": "false"}
    )
    run = train(preset, [tmp_path / "00000.tar"], tmp_path / "run", steps=200, progress=False)
    losses = [row["loss"] for row in read_metrics(run.folder)]
    assert losses[-1] < 0.6 * losses[0]
    assert losses[0] < 1.3 * 2 * 3.466  # it starts near chance, 2 ln 32
