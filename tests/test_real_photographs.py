"""Training on real photographs and the captions that people wrote for them."""

import json

import pytest

from align_edu.pairs import write_shards
from align_edu.presets import get_preset, replace_fields
from align_edu.training import train
from align_edu.training.metrics import read_metrics
from tests.samples import REAL


@pytest.mark.long
@pytest.mark.skipif(not REAL.exists(), reason="../shared/real is missing")
def test_two_hundred_steps_on_real_photographs_lower_the_loss(tmp_path):
    whole = json.loads((REAL / "coco" / "captions.json").read_text())
    names = {image["id"]: image["file_name"] for image in whole["images"]}
    rows = [(names[note["image_id"]], note["caption"]) for note in whole["annotations"]]
    lines = [json.dumps({"file": name, "caption": text}) for name, text in rows]
    (tmp_path / "coco.jsonl").write_text("\n".join(lines))
    write_shards(REAL / "coco" / "images", tmp_path / "coco.jsonl", tmp_path / "coco")
    write_shards(REAL / "recipes" / "images", REAL / "recipes" / "pairs.tsv", tmp_path / "recipes")
    changes = {"recipe.batch_size": "32", "recipe.compile": "false"}
    preset, data = (
        replace_fields(get_preset("toy"), changes),
        [tmp_path / "coco", tmp_path / "recipes"],
    )
    run = train(preset, data, tmp_path / "run", steps=200, progress=False)
    losses = [row["loss"] for row in read_metrics(run.folder)]
    assert losses[-1] < 0.6 * losses[0]
    assert losses[0] < 1.3 * 2 * 3.466  # it starts near chance, 2 ln 32
