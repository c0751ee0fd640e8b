"""One search, from words and a picture on disk to the images found."""

import re
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from align_edu.evaluation.embed import Encoder, embed_images, load_encoder, weights_of
from align_edu.io import InputError
from align_edu.search.arithmetic import IMAGE_WEIGHT, TEXT_WEIGHT, combine_query
from align_edu.search.index import Hit, ImageIndex

_WEIGHT = re.compile(r"(.*[^\s:]):(\d+(?:\.\d+)?)", re.DOTALL)


def search(
    index: ImageIndex | str | Path,
    text: str | None = None,
    image: str | Path | None = None,
    plus: Sequence[str] = (),
    minus: Sequence[str] = (),
    top: int = 10,
    run: Encoder | None = None,
    device: str | None = None,
) -> list[Hit]:
    """Find images by a text, an image, or an image with texts added and subtracted.

    Parameters
    ----------
    index : an index, or the folder of one.
    text : words that describe the images; weight 2.
    image : a picture to start from; weight 1, and never among its own results.
    plus, minus : texts to add and to subtract; weights 2 and -2.
    top : how many images.
    run : the model that built the index; loaded from the folder that the index names when None.
    device : to load that model on, "cpu" or "cuda"; a GPU if there is one when None.

    A text may end in a factor of its weight: "snow:1.5" weighs 1.5 times as much as "snow".

    Returns hits, the best first. Raises InputError for a query without terms, when the index
    or its model cannot be read, when another model built the index, and for a broken picture.

    Paper: Section 7, image + text queries, with the weights of footnote 4.
    """
    words = [weighted(one) for one in (text, *plus) if one is not None]
    if not words and image is None:
        raise InputError("nothing to search for; give a text, an image or a text to add")
    words += [(-weight, one) for weight, one in map(weighted, minus)]
    if any(not one.strip() for _, one in words):
        raise InputError("a text of the query is empty; write at least one word")
    if not isinstance(index, ImageIndex):
        index = ImageIndex.load(index)
    if run is None:
        if index.run is None:
            raise InputError("the index names no run; give the run that built it")
        run = load_encoder(index.run, device)
    _check_model(index, run)
    terms: list[tuple[float, Tensor]] = []
    if words:
        vectors = run.encode_texts([one for _, one in words])
        terms += [(weight, vector) for (weight, _), vector in zip(words, vectors, strict=True)]
    if image is not None:
        terms.append((IMAGE_WEIGHT, _embed_one(run, Path(image))))
    return index.search(combine_query(terms), top, exclude=[] if image is None else [image])


def weighted(text: str) -> tuple[float, str]:
    """Return the weight of a text and its words; a number after the last colon multiplies it.

    The number has digits and no space before it; anything else belongs to the words.

    >>> weighted("snow:1.5"), weighted("snow"), weighted("note: 3 cats")
    ((3.0, 'snow'), (2.0, 'snow'), (2.0, 'note: 3 cats'))
    """
    found = _WEIGHT.fullmatch(text)
    return (TEXT_WEIGHT * float(found[2]), found[1]) if found else (TEXT_WEIGHT, text)


def _check_model(index: ImageIndex, run: Encoder) -> None:
    """Raise InputError if both the index and the model name their weights and these differ."""
    folder = getattr(run, "folder", None)
    weights = None if folder is None else weights_of(folder)
    if index.model is not None and weights is not None and weights != index.model:
        raise InputError(
            f"{folder}: not the model that built this index (its weights are"
            f" {weights[:12]}, the index's {index.model[:12]}); build the index again"
        )


def _embed_one(run: Encoder, file: Path) -> Tensor:
    found = embed_images(run, [file])
    if found.skipped:
        raise InputError(f"{file}: not a readable image ({found.skipped[file]}); give another one")
    return found.embeddings[0]
