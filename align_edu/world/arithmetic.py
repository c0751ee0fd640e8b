"""Image ± text queries measured: do they find the scene that differs in one fact?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.evaluation.embed import Encoder
from align_edu.evaluation.retrieval import best_ranks, bootstrap_interval, exact_vectors, recall_at
from align_edu.search import IMAGE_WEIGHT, TEXT_WEIGHT
from align_edu.world.draw import check_range, draw
from align_edu.world.scene import ATTRIBUTES, EDIT_STREAM, child_rng, distractors, sample_edit

WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # of the words; the image has 1
# Each kind of query, and how `ask` weighs it; by default the words at 2 and the image at 1.
QUERY_KINDS: dict[str, dict[str, Any]] = {
    "image and text": {}, "one to one": {"text": 1.0}, "only plus": {"text": 1.0, "minus": False},
    "image": {"text": 0.0}, "text": {"image": 0.0},
}  # fmt: skip
_SIZE = 58  # pixels a side, as the toy model trains
_BATCH = 256


@dataclass(frozen=True)
class Quiz:
    """Queries about one attribute, embedded."""

    image: Tensor  # (Q, D) pictures of the scenes before the change
    plus: Tensor  # (Q, D) words; rows of zeros for no words
    minus: Tensor  # (Q, D)
    gallery: Tensor  # (G, D) the answers among distractors, without the query's picture
    right: Tensor  # (Q, G) True where the gallery's scene has all facts of the answer


def ask(
    quiz: Quiz, *, text: float = TEXT_WEIGHT, image: float = IMAGE_WEIGHT, minus: bool = True
) -> Tensor:
    """Return the rank of the answer to each query: (Q,); 1 is the best, ties count as wrong.

    text, image: the weights. minus: also subtract words.

    Paper: Section 7 and footnote 4.
    """
    words = quiz.plus - quiz.minus if minus else quiz.plus
    query = F.normalize(image * quiz.image + text * words, dim=1)
    x, y = exact_vectors("query", query), exact_vectors("gallery", quiz.gallery)
    return best_ranks((x @ y.T).float(), quiz.right)


def make_quiz(run: Encoder, attribute: str, queries: int, seed: int) -> Quiz:
    """Draw scenes that differ in one attribute, with distractors, and embed them."""
    check_range("queries", queries, 1)
    edits, scenes, pictures, shown = [], [], [], []
    for i in range(queries):
        rng = child_rng(seed, EDIT_STREAM, ATTRIBUTES.index(attribute), i)
        edits.append(sample_edit(attribute, rng))
        pictures.append(draw(edits[-1].before, rng, _SIZE))
        for scene in (edits[-1].after, *distractors(edits[-1], rng)):
            scenes.append(scene)
            shown.append(draw(scene, rng, _SIZE))
    batches = (shown[i : i + _BATCH] for i in range(0, len(shown), _BATCH))
    return Quiz(
        image=run.encode_images(pictures).cpu(),
        plus=_words(run, [edit.plus for edit in edits]),
        minus=_words(run, [edit.minus for edit in edits]),
        gallery=torch.cat([run.encode_images(batch).cpu() for batch in batches]),
        right=torch.tensor([[scene == edit.after for scene in scenes] for edit in edits]),
    )


def measure_arithmetic(
    run: Encoder, *, attributes: Sequence[str] = ATTRIBUTES, queries: int = 100, seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Measure image ± text queries on the toy world, which has the right answers.

    A query is the picture of a scene, minus the words for one fact, plus the words for another; the
    answer is a picture of the scene that differs in that fact alone. Returns, under "attributes",
    for each the success at 1 and 5, with 95 % intervals, of each of `QUERY_KINDS` and of "centred"
    (one to one, each modality minus its mean), and "chance"; under "sweep" the success at 1 of
    each text weight; under "gap" the modality gap.

    Paper: Section 7, Figure 5; footnote 4 for the weights.
    """
    from tqdm import tqdm

    names = tqdm(attributes, "attributes", disable=not progress)
    quizzes = {name: make_quiz(run, name, queries, seed) for name in names}
    found: dict[str, dict[str, Any]] = {}
    for name, quiz in quizzes.items():
        success = {kind: _success(quiz, **weights) for kind, weights in QUERY_KINDS.items()}
        sizes = {"queries": len(quiz.image), "gallery": len(quiz.gallery)}
        found[name] = success | {"chance": quiz.right.double().mean().item()} | sizes
        found[name]["centred"] = _success(_centred(quiz), text=1.0)
    sweep = {
        str(w): {name: recall_at(ask(quiz, text=w), (1,))["R@1"] for name, quiz in quizzes.items()}
        for w in WEIGHTS
    }
    gap = modality_gap(quizzes.values())
    return {"attributes": found, "sweep": sweep, "gap": gap, "seed": seed}


def modality_gap(quizzes: Iterable[Quiz]) -> dict[str, float]:
    """Return mean cosines: two pictures, two texts, a picture and a text, and of the two means."""
    quizzes = list(quizzes)
    images = torch.cat([quiz.gallery for quiz in quizzes])
    texts = torch.cat([quiz.plus[quiz.plus.norm(dim=1) > 0] for quiz in quizzes])
    x, y = images.mean(dim=0), texts.mean(dim=0)
    return {
        "two pictures": (x @ x).item(),
        "two texts": (y @ y).item(),
        "picture and text": (x @ y).item(),
        "the two means": F.cosine_similarity(x, y, dim=0).item(),
    }


def _success(quiz: Quiz, **weights: Any) -> dict[str, Any]:
    ranks = ask(quiz, **weights)
    return recall_at(ranks, (1, 5), "success@") | {"interval": bootstrap_interval(ranks <= 1)}


def _centred(quiz: Quiz) -> Quiz:
    """Subtract the mean of each modality, and scale to length 1 again."""
    words = torch.cat([quiz.plus, quiz.minus])
    x, y = quiz.gallery.mean(dim=0), words[words.norm(dim=1) > 0].mean(dim=0)

    def moved(vectors: Tensor, mean: Tensor) -> Tensor:
        present = vectors.norm(dim=1, keepdim=True) > 0
        return torch.where(present, F.normalize(vectors - mean, dim=1), 0.0)

    plus, minus = moved(quiz.plus, y), moved(quiz.minus, y)
    return Quiz(moved(quiz.image, x), plus, minus, moved(quiz.gallery, x), quiz.right)


def _words(run: Encoder, texts: list[str]) -> Tensor:
    vectors = run.encode_texts([text or "nothing" for text in texts]).cpu()
    return vectors * torch.tensor([[bool(text)] for text in texts])
