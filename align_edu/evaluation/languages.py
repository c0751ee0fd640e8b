"""Two protocols that arXiv v2 adds: retrieval in several languages, and word similarity."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch.nn import functional as F

from align_edu.evaluation.cxc import spearman
from align_edu.evaluation.embed import Encoder, embed_images, embed_texts
from align_edu.evaluation.retrieval import RESAMPLES, retrieval_recall
from align_edu.io import InputError, read_lines
from align_edu.pairs.images import open_image

_TEST_SET = "test_2016_flickr"  # the one that papers mean by Multi30K's test split
_COLUMNS = ("word1", "word2", "SimLex999", "POS")
_PARTS = {"N": "nouns", "A": "adjectives", "V": "verbs"}


@dataclass(frozen=True)
class Captions:
    """Pictures, and captions of them in several languages."""

    files: list[Path]  # I names
    open: Callable[[int], Image.Image]  # opens picture i
    texts: dict[str, list[str]]  # by language; caption t describes picture t modulo I


class WordPair(NamedTuple):
    """Two words, people's score of their similarity, and their part of speech, such as N."""

    first: str
    second: str
    score: float
    part: str


def read_captions(folder: str | Path, split: str = "test") -> Captions:
    """Read a split of Multi30K from its files, wherever they lie below a folder.

    SPLIT.txt lists the images, one per line; line n of SPLIT.LANGUAGE, or of SPLIT.1.LANGUAGE to
    SPLIT.5.LANGUAGE, describes image n; captions may be gzipped. "test" is the test set of 2016,
    test_2016_flickr, unless there are files of the name test.
    Raises InputError for a file or image that is missing, and for numbers of lines that differ.
    Paper: arXiv v2, Section 8 and Table 11.
    """
    files = sorted(file for file in Path(folder).rglob("*") if file.is_file())
    if split == "test" and not any(file.name == "test.txt" for file in files):
        split = _TEST_SET
    lists = [file for file in files if file.name in (f"{split}.txt", f"{split}_images.txt")]
    if len(lists) != 1:
        needed = f"needs one list of images {split}.txt, found {len(lists)}"
        raise InputError(f"{folder}: {needed}; give Multi30K's task1 or task2, with its images")
    names = read_lines(lists[0])
    if len(names) < 2:
        raise InputError(f"{lists[0]}: lists one image; recall needs two or more")
    places = {file.name: file for file in files}
    if missing := [name for name in names if name not in places]:
        raise InputError(f"{folder}: {len(missing)} images are missing, such as {missing[0]}")
    texts: dict[str, list[str]] = {}
    for file in files:
        found = re.fullmatch(rf"{re.escape(split)}(\.\d)?\.([a-z]{{2,3}})(\.gz)?", file.name)
        if found and found[2] != "txt":
            lines = read_lines(file)
            if len(lines) != len(names):
                raise InputError(f"{file}: {len(lines)} captions for {len(names)} images")
            texts.setdefault(found[2], []).extend(lines)
    if not texts:
        raise InputError(f"{folder}: no captions; add files such as {split}.de")
    images = [places[name] for name in names]
    return Captions(images, lambda i: open_image(images[i]), texts)


def evaluate_languages(
    run: Encoder, data: Captions | str | Path, *, split: str = "test", progress: bool = False
) -> dict[str, Any]:
    """Measure retrieval in several languages.

    data: what `read_captions` takes, or its result. The "mean_recall" of a language is the mean
    of R@1, R@5 and R@10 both ways. Raises InputError for data that cannot be read.
    Paper: arXiv v2, Section 8 and Table 11.
    """
    if not isinstance(data, Captions):
        data = read_captions(data, split)
    images = embed_images(run, data.files, data.open, progress=progress)
    result: dict[str, dict[str, Any]] = {}
    for language, texts in sorted(data.texts.items()):
        vectors = embed_texts(run, texts, progress=progress)
        owner = torch.arange(len(texts)) % len(data.files)
        recalls = retrieval_recall(images.embeddings, vectors, owner)
        mean = _mean([value for recall in recalls.values() for value in recall.values()])
        result[language] = {**recalls, "mean_recall": mean, "texts": len(texts)}
    mean = _mean([part["mean_recall"] for part in result.values()])
    return {"languages": result, "mean_recall": mean, "images": len(data.files)}


def read_word_pairs(path: str | Path) -> list[WordPair]:
    """Read word pairs in the form of SimLex-999.txt: tab-separated, with a header line.

    path: the file, or a folder that holds SimLex-999.txt.
    Raises InputError for a file that is missing, has other columns, or has a broken score.
    Paper: arXiv v2, supplementary material; Hill et al. (2015).
    """
    path = Path(path) / "SimLex-999.txt" if Path(path).is_dir() else Path(path)
    header, *rows = [line.split("\t") for line in read_lines(path)] or [[""]]
    if missing := [name for name in _COLUMNS if name not in header]:
        raise InputError(f"{path}: no column {missing[0]!r}; give SimLex-999.txt as published")
    if len(rows) < 2:
        raise InputError(f"{path}: needs at least two pairs of words")
    pairs = []
    for number, row in enumerate(rows, start=2):
        try:
            one, two, score, part = (row[header.index(name)] for name in _COLUMNS)
            pairs.append(WordPair(one, two, float(score), part))
            if not math.isfinite(pairs[-1].score):
                raise ValueError
        except (ValueError, IndexError):
            raise InputError(f"{path}, line {number}: needs two words, POS and a score") from None
    return pairs


def evaluate_words(
    run: Encoder, data: list[WordPair] | str | Path, *, seed: int = 0, progress: bool = False
) -> dict[str, Any]:
    """Measure how well the cosines of single words follow people's similarity scores.

    data: what `read_word_pairs` takes, or its result. seed: of the bootstrap over pairs.
    Raises InputError as `read_word_pairs`.
    Paper: arXiv v2, supplementary material (SimLex-999).
    """
    pairs = data if isinstance(data, list) else read_word_pairs(data)
    words = sorted({word for pair in pairs for word in pair[:2]})
    vectors = F.normalize(embed_texts(run, words, progress=progress), dim=1).double()
    vector_of = dict(zip(words, vectors, strict=True))
    one = torch.stack([vector_of[pair.first] for pair in pairs])
    two = torch.stack([vector_of[pair.second] for pair in pairs])
    model, human = (one * two).sum(dim=1).float(), torch.tensor([p.score for p in pairs])  # (P,)

    def correlation(part: str | None) -> dict[str, Any]:
        rows = [i for i, pair in enumerate(pairs) if part in (None, pair.part)]
        value = spearman(human[rows][None], model[rows][None]).item()
        return {"spearman": value, "pairs": len(rows)}

    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(pairs), (RESAMPLES, len(pairs)), generator=generator)
    low, high = spearman(human[drawn], model[drawn]).quantile(torch.tensor([0.025, 0.975]).double())
    parts = {_PARTS.get(p, p): correlation(p) for p in sorted({pair.part for pair in pairs})}
    interval = [low.item(), high.item()]
    rest = {"interval": interval, "parts": parts, "pairs": len(pairs), "seed": seed}
    return {"spearman": correlation(None)["spearman"], **rest}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
