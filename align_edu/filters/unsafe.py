"""Scores of pornographic content from an image classifier that the user gives.

The paper drops pornographic images without naming its classifier (Section 3). The project ships
none, because a classifier has an owner and a licence. Any transformers image classifier in a
local folder will do, if some of its labels name unsafe content.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from align_edu.io import InputError
from align_edu.pairs.images import BrokenImage, decode_image
from align_edu.pairs.shards import Place, read_part

_UNSAFE = re.compile(r"nsfw|porn|unsafe|explicit|hentai|sexy", re.IGNORECASE)
_NEGATED = re.compile(r"\b(not|non|no)[-_ ]", re.IGNORECASE)
_BATCH = 64


def unsafe_labels(labels: Sequence[str]) -> list[int]:
    """Return the indices of the labels that mean pornographic content.

    >>> unsafe_labels(["drawings", "hentai", "neutral", "porn", "sexy"])
    [1, 3, 4]
    >>> unsafe_labels(["sfw", "nsfw"]), unsafe_labels(["not porn", "dog"])
    ([1], [])
    """
    return [
        i for i, label in enumerate(labels) if _UNSAFE.search(label) and not _NEGATED.search(label)
    ]


def load_classifier(folder: Path) -> tuple[Any, Any, list[int]]:
    """Load an image classifier from a local folder: processor, model, indices of unsafe labels.

    Raises InputError if the folder holds no classifier, or if none of its labels is unsafe.
    """
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a transformers image classifier's")
    try:
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        model = AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0][:160]
        raise InputError(
            f"{folder}: no transformers image classifier with safetensors weights ({reason});"
            " give its folder"
        ) from None
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    unsafe = unsafe_labels(labels)
    if not unsafe:
        raise InputError(
            f"{folder}: no label of the classifier says what is unsafe (it has"
            f" {', '.join(labels[:8])}); give a classifier with a label such as nsfw or porn"
        )
    return processor, model.eval(), unsafe


def unsafe_probabilities(folder: Path, places: Sequence[Place]) -> list[float | None]:
    """Return the probability of unsafe content of each image, None for an unreadable one.

    folder: the classifier's. The probabilities of its unsafe labels are added.
    """
    import torch

    processor, model, unsafe = load_classifier(folder)
    scores: list[float | None] = [None] * len(places)
    for start in range(0, len(places), _BATCH):
        pictures = {}
        for row in range(start, min(start + _BATCH, len(places))):
            try:
                pictures[row] = decode_image(read_part(*places[row]))
            except (BrokenImage, OSError):
                continue
        if pictures:
            pixels = processor(list(pictures.values()), return_tensors="pt")
            with torch.no_grad():
                logits = model(**pixels).logits  # (B, labels)
            for row, score in zip(pictures, logits.softmax(dim=1)[:, unsafe].sum(dim=1).tolist()):
                scores[row] = score
    return scores
