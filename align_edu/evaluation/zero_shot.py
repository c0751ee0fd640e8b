"""Zero-shot classification: the class whose prompt is nearest to the picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from align_edu.evaluation.embed import Encoder, embed_texts
from align_edu.evaluation.labelled import LabelledImages, embed_labelled, read_labelled
from align_edu.evaluation.prompts import TEMPLATES, fill_templates, read_templates
from align_edu.evaluation.record import bootstrap_interval
from align_edu.evaluation.retrieval import best_ranks

KS = (1, 5)


def class_vectors(run: Encoder, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Return one unit vector for each class: the mean of its prompts' vectors, normalised.

    run: a trained run, see `load_run`. classes: K names. templates: sentences with one ``{}``.
    Returns (K, D).

    Paper: arXiv v1 has no zero-shot ImageNet; the ensemble of prompts is that of Radford et
    al. (2021), Section 3.1.4, which ALIGN's later version uses.
    """
    prompts = [prompt for name in classes for prompt in fill_templates(templates, name)]
    vectors = F.normalize(embed_texts(run, prompts), dim=1)  # (K * P, D)
    return F.normalize(vectors.view(len(classes), len(templates), -1).mean(dim=1), dim=1)


def class_ranks(images: Tensor, vectors: Tensor, labels: Tensor) -> Tensor:
    """Return the rank of the right class of each image; 1 is the best, ties count as wrong.

    images: (N, D). vectors: (K, D), one a class. labels: (N,) whole numbers below K. Returns
    (N,) whole numbers.

    >>> import torch
    >>> eye = torch.eye(3)
    >>> class_ranks(eye, eye, torch.tensor([0, 1, 0])).tolist()
    [1, 1, 3]
    """
    # float64, then rounded: equal vectors must give equal similarities (see retrieval.py)
    similarity = (images.double() @ vectors.double().T).float()  # (N, K)
    return best_ranks(similarity, F.one_hot(labels, len(vectors)).bool())


def evaluate_zero_shot(
    run: Encoder,
    data: LabelledImages | str | Path,
    *,
    split: str = "test",
    templates: str | Path | Sequence[str] | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure zero-shot classification, with one prompt a class and with all of them.

    run: a trained run. data: labelled images, or what `read_labelled` takes. templates: a file
    or a list; by default those of the data, or a dozen for photographs. The first one is the
    single prompt. progress: show bars on standard error.

    Returns "ensemble" and "single", each with "top-1", "top-5" (where there are more than five
    classes) and their 95 % intervals; the accuracy of each class under "classes"; the numbers
    of "images", "prompts"; and "chance", what a blind guess gets.
    Raises InputError for data or templates that cannot be read.

    Paper: Section 1 of arXiv v2; v1 measures retrieval and transfer only.
    """
    if not isinstance(data, LabelledImages):
        data = read_labelled(data, split)
    if isinstance(templates, str | Path):
        templates = read_templates(templates)
    prompts = list(templates or data.templates or TEMPLATES)
    images = embed_labelled(run, data, progress=progress)
    ensemble = class_ranks(images, class_vectors(run, data.classes, prompts), data.labels)
    single = class_ranks(images, class_vectors(run, data.classes, prompts[:1]), data.labels)
    ks = [k for k in KS if k < len(data.classes)]
    return {
        "ensemble": _accuracies(ensemble, ks),
        "single": _accuracies(single, ks),
        "classes": _by_class(ensemble, data),
        "chance": 1 / len(data.classes),
        "images": len(data),
        "prompts": len(prompts),
    }


def zero_shot_table(result: Mapping[str, Any]) -> str:
    """Return the result of :func:`evaluate_zero_shot` as a table for the terminal, in percent.

    >>> part = {"top-1": 0.5, "interval": {"top-1": [0.4, 0.6]}}
    >>> counts = {"classes": {"cat": 0.5}, "chance": 0.25, "images": 90, "prompts": 7}
    >>> print(zero_shot_table({"ensemble": part, "single": part} | counts))
                           top-1
    one prompt              50.0   (40.0 to 60.0)
    7 prompts               50.0   (40.0 to 60.0)
    chance                  25.0
    90 images; percent, with the 95 % interval of top-1; worst classes: cat 50
    """
    names = [name for name in result["ensemble"] if name != "interval"]
    lines = [" " * 20 + "".join(f"{name:>8}" for name in names)]
    for label, part in (("one prompt", "single"), (f"{result['prompts']} prompts", "ensemble")):
        values = "".join(f"{100 * result[part][name]:8.1f}" for name in names)
        low, high = (100 * edge for edge in result[part]["interval"]["top-1"])
        lines.append(f"{label:<20}{values}   ({low:.1f} to {high:.1f})")
    lines.append(f"{'chance':<20}{100 * result['chance']:8.1f}")
    worst = sorted(result["classes"].items(), key=lambda item: item[1])[:3]
    named = ", ".join(f"{name} {100 * share:.0f}" for name, share in worst)
    lines.append(
        f"{result['images']:,} images; percent, with the 95 % interval of top-1;"
        f" worst classes: {named}"
    )
    return "\n".join(lines)


def _accuracies(ranks: Tensor, ks: Sequence[int]) -> dict[str, Any]:
    hits = {f"top-{k}": ranks <= k for k in ks}
    shares = {name: int(hit.sum()) / len(hit) for name, hit in hits.items()}
    return {**shares, "interval": {name: bootstrap_interval(hit) for name, hit in hits.items()}}


def _by_class(ranks: Tensor, data: LabelledImages) -> dict[str, float]:
    """Accuracy of each class that has pictures."""
    return {
        name: float((ranks[data.labels == number] == 1).double().mean())
        for number, name in enumerate(data.classes)
        if (data.labels == number).any()
    }
