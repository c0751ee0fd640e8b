"""Arithmetic measured: does an image plus words find the scene that differs in that fact?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.evaluation.embed import Encoder
from align_edu.evaluation.record import bootstrap_interval
from align_edu.evaluation.retrieval import best_ranks
from align_edu.io import InputError
from align_edu.search.arithmetic import IMAGE_WEIGHT, TEXT_WEIGHT
from align_edu.world.draw import draw
from align_edu.world.edits import ATTRIBUTES, Edit, distractors, sample_edit
from align_edu.world.pair import EDIT_STREAM
from align_edu.world.scene import Scene, child_rng

KS = (1, 5)
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # of the words; the image has 1
QUERIES = 100
WAYS = ("image and text", "one to one", "only plus", "image", "text")
_SIZE = 58  # pixels a side, as the toy model trains
_BATCH = 256


@dataclass(frozen=True)
class Quiz:
    """Queries about one attribute, embedded.

    Attributes
    ----------
    image : (Q, D) pictures of the scenes before the change.
    plus, minus : (Q, D) words; rows of zeros where there are none.
    gallery : (G, D) pictures: the answers among distractors; the query's picture is not there.
    right : (Q, G) where the gallery's scene has all facts of the answer.
    """

    image: Tensor
    plus: Tensor
    minus: Tensor
    gallery: Tensor
    right: Tensor


def ask(
    quiz: Quiz, *, text: float = TEXT_WEIGHT, image: float = IMAGE_WEIGHT, minus: bool = True
) -> Tensor:
    """Return the rank of the answer to each query: (Q,); 1 is the best, ties count as wrong.

    text, image: the weights. minus: whether words are also taken away.

    Paper: Section 7 and footnote 4.
    """
    words = quiz.plus - quiz.minus if minus else quiz.plus
    query = F.normalize(image * quiz.image + text * words, dim=1)
    similarity = (query.double() @ quiz.gallery.double().T).float()  # (Q, G)
    return best_ranks(similarity, quiz.right)


def make_quiz(run: Encoder, attribute: str, queries: int, seed: int) -> Quiz:
    """Draw the scenes of one attribute and embed them.

    Each answer stands among distractors: see `align_edu.world.edits.distractors`.
    """
    if queries < 1:
        raise InputError(f"queries {queries}: ask at least one")
    edits: list[Edit] = []
    scenes: list[Scene] = []
    pictures, shown = [], []
    for i in range(queries):
        rng = child_rng(seed, EDIT_STREAM, ATTRIBUTES.index(attribute), i)
        edits.append(sample_edit(attribute, rng))
        pictures.append(draw(edits[-1].before, rng, _SIZE))
        for scene in (edits[-1].after, *distractors(edits[-1], rng)):
            scenes.append(scene)
            shown.append(draw(scene, rng, _SIZE))
    right = torch.tensor([[scene == edit.after for scene in scenes] for edit in edits])
    plus, minus = ([getattr(edit, side) for edit in edits] for side in ("plus", "minus"))
    return Quiz(
        run.encode_images(pictures).cpu(),
        _words(run, plus),
        _words(run, minus),
        torch.cat([run.encode_images(p).cpu() for p in _batches(shown)]),
        right,
    )


def measure_arithmetic(
    run: Encoder,
    *,
    attributes: Sequence[str] = ATTRIBUTES,
    queries: int = QUERIES,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure image ± text queries on the toy world, where the right answer is known.

    Each query is the picture of a scene, minus the words for one fact, plus the words for
    another; the answer is a picture of the scene that differs in that fact alone.
    Returns, under "attributes", for each the success at 1 and 5 of five ways to ask, with 95 %
    intervals: "image and text" (words at weight 2, the image at 1), "one to one" (both at 1),
    "only plus" (that, without the words to take away), "image", "text"; and "chance", and
    "centred": one to one, each modality around its own mean; under "sweep" the success at 1 of
    each text weight; under "gap" the modality gap.

    Paper: Section 7, Figure 5; footnote 4 for the weights.
    """
    from tqdm import tqdm

    found, quizzes = {}, {}
    for name in tqdm(attributes, "asking", disable=not progress):
        quizzes[name] = make_quiz(run, name, queries, seed)
        found[name] = _success(quizzes[name])
        found[name]["centred"] = _ways(_centred(quizzes[name]))["one to one"]
    sweep = {
        str(weight): {name: _share(ask(quiz, text=weight), 1) for name, quiz in quizzes.items()}
        for weight in WEIGHTS
    }
    return {
        "attributes": found,
        "sweep": sweep,
        "gap": modality_gap(quizzes.values()),
        "seed": seed,
    }


def modality_gap(quizzes: Any) -> dict[str, float]:
    """Return mean cosines: two pictures, two texts, a picture and a text, and of the two means."""
    images = torch.cat([quiz.gallery for quiz in quizzes])
    texts = torch.cat([quiz.plus[quiz.plus.norm(dim=1) > 0] for quiz in quizzes])
    x, y = images.mean(dim=0), texts.mean(dim=0)
    return {
        "two pictures": (x @ x).item(),
        "two texts": (y @ y).item(),
        "picture and text": (x @ y).item(),
        "the two means": F.cosine_similarity(x, y, dim=0).item(),
    }


def arithmetic_table(result: Mapping[str, Any]) -> str:
    """Return the result of :func:`measure_arithmetic` as a table for the terminal, in percent."""
    lines = [f"{'success at 1':14}" + "".join(f"{way:>16}" for way in (*WAYS, "chance"))]
    for name, part in result["attributes"].items():
        values = [part[way]["success@1"] for way in WAYS] + [part["chance"]]
        lines.append(f"{name:<14}" + "".join(f"{100 * value:16.1f}" for value in values))
    means = {
        weight: sum(shares.values()) / len(shares) for weight, shares in result["sweep"].items()
    }
    told = ", ".join(f"{weight}: {100 * mean:.1f}" for weight, mean in means.items())
    lines.append(f"mean by weight of the words, the image at 1: {told}")
    return "\n".join(lines)


def _success(quiz: Quiz) -> dict[str, Any]:
    chance = quiz.right.double().mean().item()
    return {
        **_ways(quiz),
        "chance": chance,
        "queries": len(quiz.image),
        "gallery": len(quiz.gallery),
    }


def _ways(quiz: Quiz) -> dict[str, Any]:
    ranks = {
        "image and text": ask(quiz),
        "one to one": ask(quiz, text=1.0),
        "only plus": ask(quiz, text=1.0, minus=False),
        "image": ask(quiz, text=0.0),
        "text": ask(quiz, image=0.0),
    }
    return {
        way: {f"success@{k}": _share(rank, k) for k in KS}
        | {"interval": bootstrap_interval(rank <= 1)}
        for way, rank in ranks.items()
    }


def _centred(quiz: Quiz) -> Quiz:
    """Each modality around its own mean, and of length 1 again."""
    x, words = quiz.gallery.mean(dim=0), torch.cat([quiz.plus, quiz.minus])
    y = words[words.norm(dim=1) > 0].mean(dim=0)

    def moved(vectors: Tensor, mean: Tensor) -> Tensor:
        there = vectors.norm(dim=1, keepdim=True) > 0
        return torch.where(there, F.normalize(vectors - mean, dim=1), 0.0)

    return Quiz(
        moved(quiz.image, x), moved(quiz.plus, y), moved(quiz.minus, y), moved(quiz.gallery, x),
        quiz.right,
    )  # fmt: skip


def _share(ranks: Tensor, k: int) -> float:
    return int((ranks <= k).sum()) / len(ranks)


def _words(run: Encoder, texts: list[str]) -> Tensor:
    vectors = run.encode_texts([text or "nothing" for text in texts]).cpu()
    return vectors * torch.tensor([[bool(text)] for text in texts])


def _batches(pictures: list[Any]) -> list[list[Any]]:
    return [pictures[i : i + _BATCH] for i in range(0, len(pictures), _BATCH)]
