"""Searches for "a KIND" on a toy benchmark: how many of the first ten pictures show that kind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align_edu.evaluation.embed import Encoder
from align_edu.evaluation.protocols import share_table
from align_edu.evaluation.ranks import bootstrap_interval, precision_at_k
from align_edu.evaluation.retrieval import embed_gallery
from align_edu.io import InputError, read_json
from align_edu.pairs.splits import read_split
from align_edu.world.words import NOUNS, with_article

TOP = 10


def measure_kind_search(
    run: Encoder, benchmark: str | Path, *more: str | Path, progress: bool = False
) -> dict[str, Any]:
    """Search the pictures of toy benchmarks for each kind of object by its name: "a cat".

    A picture is right if one of its objects is of the kind. A kind that fewer than ten pictures
    show is measured by those. Returns "precision@10", the mean over the kinds, with its 95 %
    "interval"; that of each kind under "kinds"; the number of "images".
    Raises InputError for a benchmark without scenes.
    """
    shown: list[set[str]] = []
    parts: list[Tensor] = []
    for folder in (benchmark, *more):
        data = read_split(folder)
        kinds_of = kinds_shown(folder)
        shown += [kinds_of[path.name] for path in data.images]
        parts.append(embed_gallery(run, data, progress=progress))
    kinds = [kind for kind in NOUNS if any(kind in both for both in shown)]
    relevant = torch.tensor([[kind in both for both in shown] for kind in kinds])  # (K, I)
    texts = run.encode_texts([with_article(NOUNS[kind][0][0]) for kind in kinds]).cpu()
    shares = precision_at_k(texts, torch.cat(parts), relevant, TOP)  # (K,)
    return {
        f"precision@{TOP}": shares.mean().item(),
        "interval": bootstrap_interval(shares),
        "kinds": dict(zip(kinds, shares.tolist(), strict=True)),
        "images": len(shown),
    }


def kinds_shown(benchmark: str | Path) -> dict[str, set[str]]:
    """Return the kinds of object that each picture of a toy benchmark shows, by its file name.

    Raises InputError for a benchmark whose record names no scenes.
    """
    path = Path(benchmark) / "dataset_toy.json"
    rows = read_json(path)["images"]
    if any("scene" not in row for row in rows):
        raise InputError(f"{path}: names no scenes; give a benchmark that align-edu world wrote")
    return {
        row["filename"]: {row["scene"]["kind"], row["scene"]["other_kind"]} - {""} for row in rows
    }


def kind_search_table(result: Mapping[str, Any]) -> str:
    """Return the result of :func:`measure_kind_search` for the terminal, in percent."""
    worst = sorted(result["kinds"].items(), key=lambda item: item[1])[:5]
    named = ", ".join(f"{kind} {100 * share:.0f}" for kind, share in worst)
    row = (f"right of the first {TOP}", result[f"precision@{TOP}"], result["interval"])
    note = f"{len(result['kinds'])} kinds in {result['images']:,} images; worst: {named}"
    return share_table([row], note)
