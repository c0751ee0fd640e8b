"""Which toy recipe learns most in a few minutes: each variant trained on one demo's data.

Needs the folder of a finished demo (its filtered pairs, vocabulary and benchmark). Prints a
line a variant: steps, pairs per second, last loss, σ, recall at 1 both ways. One seed each;
quote differences only where they are large.

    python tests/benchmarks/recipes.py runs/demo --minutes 4.5 --out runs/recipes
"""

import argparse
from pathlib import Path

from align_edu.evaluation import evaluate_retrieval
from align_edu.presets import get_preset, replace_fields
from align_edu.training import train
from align_edu.training.metrics import read_metrics
from align_edu.wordpiece import load_wordpiece

VARIANTS: dict[str, dict[str, str]] = {
    "toy": {},
    "adamw": {"recipe.optimizer": "adamw", "recipe.learning_rate": "0.003"},
    "lamb": {"recipe.optimizer": "lamb", "recipe.learning_rate": "0.01"},
    "sigma 1.0": {"loss.temperature": "1.0"},
    "smoothing 0.1": {"loss.label_smoothing": "0.1"},
    "batch 256": {"recipe.batch_size": "256"},
    "40 pixels": {"image.resize": "48", "image.crop": "40"},
    "compiled": {"recipe.compile": "true"},
}


def main() -> None:
    """Train and measure each variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path)
    parser.add_argument("--minutes", type=float, default=4.5)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    args = parser.parse_args()
    print("variant         steps  pairs/s   loss      σ   R@1 image→text  text→image", flush=True)
    for name in args.only:
        run = train(
            replace_fields(get_preset("toy"), VARIANTS[name]),
            [args.demo / "filtered"],
            args.out / name.replace(" ", "_"),
            minutes=args.minutes,
            tokenizer=load_wordpiece(args.demo / "tokenizer.json"),
        )
        row = read_metrics(run.folder)[-1]
        result = evaluate_retrieval(run, args.demo / "benchmark")
        print(
            f"{name:14} {row['step']:6} {row['pairs_seen'] / row['seconds']:8.0f}"
            f" {row['loss']:6.2f} {row['temperature']:6.3f}"
            f" {result['image_to_text']['R@1']:16.3f} {result['text_to_image']['R@1']:11.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
