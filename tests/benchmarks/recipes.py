"""Which toy recipe learns most: each variant trained on one demo's data for as many pairs.

Needs the folder of a finished demo (its filtered pairs, vocabulary, benchmarks and tasks). Prints
a line a variant: steps, pairs per second, last loss, σ, accuracy with prompts (object, colour,
place), precision at 10 of searches for kinds, recall at 1 both ways. One seed each; quote
differences only where they are large.

    python tests/benchmarks/recipes.py runs/demo [--only toy,adamw]

recipes.md holds what whole demos gave.
"""

from pathlib import Path

from align_edu.demo import NAMED, measure
from align_edu.model.text_tower import load_wordpiece
from align_edu.presets import get_preset, replace_fields
from align_edu.training import train
from align_edu.training.metrics import read_metrics
from tests.benchmarks.measure import options

VARIANTS: dict[str, dict[str, str]] = {
    "toy": {},
    "adamw": {"recipe.optimizer": "adamw", "recipe.learning_rate": "0.003"},
    "lamb": {"recipe.optimizer": "lamb", "recipe.learning_rate": "0.01"},
    "sigma 1.0": {"loss.temperature": "1.0"},
    "smoothing 0.1": {"loss.label_smoothing": "0.1"},
    "batch 128": {"recipe.batch_size": "128", "recipe.learning_rate": "0.01"},
    "rate 0.02": {"recipe.learning_rate": "0.02"},
    "48 pixels": {"image.resize": "58", "image.crop": "48"},
    "text 2 x 128": {"text.layers": "2", "text.width": "128", "text.heads": "2"},
}


if __name__ == "__main__":
    args = options(__doc__, demo=Path, pairs=400_000, out="runs/recipes", only=",".join(VARIANTS))
    (demo,) = args.demo
    print("variant        steps pairs/s  loss      σ  object colour place  P@10  R@1 i→t  t→i")
    for name in args.only.split(","):
        preset = replace_fields(get_preset("toy"), VARIANTS[name])
        steps, words = (
            args.pairs // preset.recipe.batch_size,
            load_wordpiece(demo / "tokenizer.json"),
        )
        out = Path(args.out) / name.replace(" ", "_")
        run = train(preset, [demo / "filtered"], out, steps=steps, tokenizer=words)
        row, found = read_metrics(run.folder)[-1], measure(run, demo)
        named = [found["zero_shot"][task]["ensemble"]["top-1"] for task in NAMED]
        recall = [found["retrieval"][way]["R@1"] for way in ("image_to_text", "text_to_image")]
        print(
            f"{name:14} {row['step']:5} {row['pairs_seen'] / row['seconds']:7.0f}"
            f" {row['loss']:5.2f} {row['temperature']:6.3f}"
            f"  {named[0]:6.3f} {named[1]:6.3f} {named[2]:5.3f}"
            f" {found['kind_search']['precision@10']:5.3f}   {recall[0]:6.3f} {recall[1]:5.3f}",
            flush=True,
        )
