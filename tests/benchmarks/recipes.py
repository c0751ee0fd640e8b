"""Which toy recipe learns most: each variant trained on one demo's data for as many pairs.

Needs the folder of a finished demo (its filtered pairs, vocabulary, benchmarks and tasks). Prints
a line a variant: steps, pairs per second, last loss, σ, accuracy with prompts (object, colour,
place), precision at 10 of searches for kinds, recall at 1 both ways. One seed each; quote
differences only where they are large.

    python tests/benchmarks/recipes.py runs/demo --pairs 400000 --out runs/recipes

Whole demos, 4.5 minutes each on 2 cores, one seed each, on today's recipe, with 16 % second objects, 20 % several and larger
small objects. "Colour first": how much more often than another fact a caption tells the colour,
if it tells only some; 0 / 1 / 2: how often a brief caption tells so many facts beside the kind.

| kinds, colours, places (Zipf) | colour first | 0 / 1 / 2 | seed | pairs seen | object | colour | place | R@1 | P@10 |
|---|---|---|---|---|---|---|---|---|---|
| 0.65, 0.4, 1.0 | 1 | 33 / 33 / 33 | 11 | 460,000 | 0.95 | 0.94 | 0.86 | 0.97 | 0.98 |
| 0.65, 0.4, 0.7; farm and space drawn again | 1 | 33 / 33 / 33 | 11 | 414,000 | 0.94 | 0.86 | 0.94 | 0.97 | 0.99 |
| 0.65, 0.25, 0.7 | 2.5 | 20 / 45 / 35 | 5 | 390,000 | 0.89 | 0.93 | 0.88 | 0.97 | 0.94 |
| 0.65, 0.25, 0.5 | 1.5 | 10 / 40 / 50 | 5 | 439,000 | 0.89 | 0.95 | 0.99 | 0.98 | 0.92 |
| 0.55, 0.25, 0.5 | 1.5 | 15 / 45 / 40 | 12 | 421,000 | 0.91 | 0.95 | 0.88 | 0.97 | 0.95 |
| 0.55, 0.25, 0.3 | 1.5 | 10 / 35 / 55 | 12 | 442,000 | 0.91 | 0.97 | 0.88 | 0.97 | 0.96 |

In the last two rows the places of photographs were named in 92 %, of sketches in 55 %: a sketch was
half paper. Today's world is the last row with sketches that keep more colour.

A compiled image tower took 90 s to compile and was no faster on one thread.
"""  # noqa: E501

import argparse
from pathlib import Path

from align_edu.demo import NAMED, measure
from align_edu.model.text_tower import load_wordpiece
from align_edu.presets import get_preset, replace_fields
from align_edu.training import train
from align_edu.training.metrics import read_metrics

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


def main() -> None:
    """Train and measure each variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path)
    parser.add_argument("--pairs", type=int, default=400_000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    args = parser.parse_args()
    print("variant        steps pairs/s  loss      σ  object colour place  P@10  R@1 i→t  t→i")
    for name in args.only:
        preset = replace_fields(get_preset("toy"), VARIANTS[name])
        run = train(
            preset,
            [args.demo / "filtered"],
            args.out / name.replace(" ", "_"),
            steps=args.pairs // preset.recipe.batch_size,
            tokenizer=load_wordpiece(args.demo / "tokenizer.json"),
        )
        row, found = read_metrics(run.folder)[-1], measure(run, args.demo)
        named = [found["zero_shot"][task]["ensemble"]["top-1"] for task in NAMED]
        recall = [found["retrieval"][way]["R@1"] for way in ("image_to_text", "text_to_image")]
        print(
            f"{name:14} {row['step']:5} {row['pairs_seen'] / row['seconds']:7.0f}"
            f" {row['loss']:5.2f} {row['temperature']:6.3f}"
            f"  {named[0]:6.3f} {named[1]:6.3f} {named[2]:5.3f}"
            f" {found['kind_search']['precision@10']:5.3f}   {recall[0]:6.3f} {recall[1]:5.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
