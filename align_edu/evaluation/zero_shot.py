"""Zero-shot classification: the class whose prompt is nearest to the picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from align_edu.evaluation.datasets import (
    LabelledImages,
    embed_labelled,
    read_labelled,
    read_templates,
)
from align_edu.evaluation.embed import Encoder, embed_texts
from align_edu.evaluation.protocols import share_table
from align_edu.evaluation.ranks import chunked_ranks, exact_vectors, recall_at, recall_intervals

KS = (1, 5)
# For photographs of things; a data set may bring others in its templates.txt.
TEMPLATES = (
    "a photo of a {}",
    "a picture of a {}",
    "a close-up photo of a {}",
    "a photo of the {}",
    "a photo of one {}",
    "a bright photo of a {}",
    "a dark photo of a {}",
    "a blurry photo of a {}",
    "a drawing of a {}",
    "a {} outdoors",
    "a {} seen from nearby",
    "this is a {}",
)
_SOUNDS_LIKE_YOU = ("uni", "use", "eu", "one")


def fill_templates(templates: Sequence[str], name: str) -> list[str]:
    """Return the templates with a class name in place of ``{}``; "a" becomes "an" before vowels.

    >>> fill_templates(["a photo of a {}", "two {}"], "apple")
    ['a photo of an apple', 'two apple']
    """
    lower, filled = name.lower(), []
    article = "an" if lower.startswith(tuple("aeiou")) else "a"
    if lower.startswith(_SOUNDS_LIKE_YOU):
        article = "a"
    for template in templates:
        before, after = template.split("{}")
        words = before.split(" ")
        if len(words) > 1 and words[-2] in ("a", "an") and not words[-1]:
            words[-2] = article
        filled.append(" ".join(words) + name + after)
    return filled


def class_vectors(run: Encoder, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Return one unit vector per class: the mean of its prompts' vectors, normalised.

    run: a trained model, see `load_run`. classes: K names. templates: sentences with one ``{}``.
    Returns (K, D).

    Paper: arXiv v1 has no zero-shot ImageNet; the ensemble of prompts is that of Radford et
    al. (2021), Section 3.1.4, which ALIGN's later version uses.
    """
    prompts = [prompt for name in classes for prompt in fill_templates(templates, name)]
    vectors = F.normalize(embed_texts(run, prompts), dim=1)  # (K * P, D)
    return F.normalize(vectors.view(len(classes), len(templates), -1).mean(dim=1), dim=1)


def class_ranks(images: Tensor, vectors: Tensor, labels: Tensor) -> Tensor:
    """Return the rank of the right class of each image: (N,); 1 is the best, ties count as wrong.

    images: (N, D). vectors: (K, D), one per class. labels: (N,) whole numbers below K.

    >>> import torch
    >>> eye = torch.eye(3)
    >>> class_ranks(eye, eye, torch.tensor([0, 1, 0])).tolist()
    [1, 1, 3]
    """
    x, y = exact_vectors("image", images), exact_vectors("class", vectors)
    return chunked_ranks(x, y, lambda rows: F.one_hot(labels[rows], len(y)).bool())


def evaluate_zero_shot(
    run: Encoder,
    data: LabelledImages | str | Path,
    *,
    split: str = "test",
    templates: str | Path | Sequence[str] | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure zero-shot classification, with one prompt per class and with all of them.

    run: a trained model. data: labelled images, or what `read_labelled` takes. templates: a
    file or a list; by default those of the data, or a dozen for photographs. The first one is
    the single prompt. progress: show bars on standard error.

    Returns "ensemble" and "single", each with "top-1", "top-5" (if there are more than five
    classes) and their 95 % intervals; the accuracy of each class under "classes"; "chance"; and
    the numbers of "images" and "prompts".
    Raises InputError for data or templates that cannot be read.

    Paper: Section 1 of arXiv v2; v1 measures retrieval and transfer only.
    """
    if not isinstance(data, LabelledImages):
        data = read_labelled(data, split)
    if isinstance(templates, str | Path):
        templates = read_templates(templates)
    prompts = list(templates or data.templates or TEMPLATES)
    images = embed_labelled(run, data, progress=progress)
    ensemble, single = (
        class_ranks(images, class_vectors(run, data.classes, some), data.labels)
        for some in (prompts, prompts[:1])
    )
    ks = [k for k in KS if k < len(data.classes)]
    ranks_of = {name: ensemble[data.labels == i] for i, name in enumerate(data.classes)}
    return {
        "ensemble": _accuracies(ensemble, ks),
        "single": _accuracies(single, ks),
        "classes": {n: recall_at(r, (1,))["R@1"] for n, r in ranks_of.items() if len(r)},
        "chance": 1 / len(data.classes),
        "images": len(data),
        "prompts": len(prompts),
    }


def zero_shot_table(result: Mapping[str, Any]) -> str:
    """Return the result of :func:`evaluate_zero_shot` as a table for the terminal, in percent."""
    parts = ("one prompt", result["single"]), (f"{result['prompts']} prompts", result["ensemble"])
    rows = [
        (f"{label}, {name}", part[name], interval)
        for label, part in parts
        for name, interval in part["interval"].items()
    ]
    worst = sorted(result["classes"].items(), key=lambda item: item[1])[:3]
    named = ", ".join(f"{name} {100 * share:.0f}" for name, share in worst)
    return share_table(
        [*rows, ("chance", result["chance"], None)],
        f"{result['images']:,} images; percent, with 95 % intervals; worst classes: {named}",
    )


def _accuracies(ranks: Tensor, ks: Sequence[int]) -> dict[str, Any]:
    return recall_at(ranks, ks, "top-") | {"interval": recall_intervals(ranks, ks, "top-")}
