"""Evaluation and search on real photographs: all runs, and a random model is at chance."""

import json
from pathlib import Path

import pytest
import torch

from align_edu import Align, ImageIndex, load_run
from align_edu.evaluation import evaluate_retrieval
from align_edu.search import search
from align_edu.training import Run

MODEL = Path(__file__).parents[1] / "data_samples" / "toy_model"
REAL = Path(__file__).parents[2] / "shared" / "real"
pytestmark = pytest.mark.skipif(
    not REAL.exists(), reason="the real photographs (../shared/real) are not on this machine"
)


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The COCO photographs and their captions in Karpathy's form."""
    folder = tmp_path_factory.mktemp("coco")
    told = json.loads((REAL / "coco" / "captions.json").read_text())
    captions: dict[int, list[str]] = {}
    for note in told["annotations"]:
        captions.setdefault(note["image_id"], []).append(note["caption"])
    images = [
        {
            "filename": image["file_name"],
            "split": "test",
            "sentences": [{"raw": text} for text in captions[image["id"]]],
        }
        for image in told["images"]
    ]
    (folder / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    (folder / "images").symlink_to(REAL / "coco" / "images")
    return folder


def untrained(run: Run, seed: int) -> Run:
    model = Align(run.preset, run.tokenizer.get_vocab_size(), seed=seed).eval()
    return Run(run.folder, run.preset, run.tokenizer, model)


def test_a_random_model_is_at_chance_on_photographs_and_the_toy_model_runs(coco: Path) -> None:
    run = load_run(MODEL)
    toy = evaluate_retrieval(run, coco)
    images, texts = toy["images"], toy["texts"]
    assert images == 51 and texts >= 5 * images
    results = [evaluate_retrieval(untrained(run, seed), coco) for seed in range(3)]
    for k in (1, 10):
        found = sum(r["text_to_image"][f"R@{k}"] for r in results) / 3
        chance = k / images
        # Captions of one image are not independent: five deviations of as many images.
        assert abs(found - chance) < 5 * (chance * (1 - chance) / (3 * images)) ** 0.5
    assert 0 <= toy["text_to_image"]["R@1"] <= 1


def test_photographs_food_and_emoji_are_indexed_and_found(tmp_path: Path) -> None:
    files = [
        *sorted((REAL / "coco" / "images").iterdir())[:20],
        *sorted((REAL / "recipes" / "images").iterdir())[:20],
        *sorted((REAL / "emoji" / "images").iterdir())[:40],
    ]
    odd = tmp_path / "odd.jpg"
    odd.write_bytes(files[0].read_bytes()[:900])  # cut off
    run = load_run(MODEL)
    index = ImageIndex.build(run, [*files, odd])
    assert len(index) + len(index.skipped) == 81 and odd in index.skipped
    hits = search(index, image=files[3], plus=["a red cat"], top=5, run=run)
    assert len(hits) == 5 and files[3] not in [hit.path for hit in hits]
    same = search(index, image=files[30], top=80, run=run)
    assert torch.tensor([hit.score for hit in same]).isfinite().all()
