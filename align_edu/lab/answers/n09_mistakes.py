"""What people write instead of recall at k and of ranks, each with what is wrong with it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from align_edu.lab.exercise import WrongAnswer

Values = Sequence[float]


def _own(similarity: Tensor, text_to_image: Tensor) -> Tensor:
    return text_to_image[None] == torch.arange(len(similarity))[:, None]  # (I, T)


def _best(similarity: Tensor, own: Tensor) -> Tensor:
    return similarity.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)  # (I, 1)


def _hits(similarity: Tensor, text_to_image: Tensor, k: int) -> Tensor:
    own = _own(similarity, text_to_image)
    ahead = ((similarity >= _best(similarity, own)) & ~own).sum(dim=1)
    return (ahead < k).double()


def _recall(similarity: Tensor, text_to_image: Tensor, k: int) -> float:
    return float(_hits(similarity, text_to_image, k).mean())


def _found(similarity: Tensor, text_to_image: Tensor, k: int) -> Tensor:
    """Which texts are among the first k of their own image: (I, T), ties against them."""
    own = _own(similarity, text_to_image)
    wrong = similarity.masked_fill(own, -torch.inf)
    ahead = (wrong[:, None, :] >= similarity[:, :, None]).sum(dim=2)  # (I, T)
    return own & (ahead < k)


def _ties_win(similarity: Tensor, text_to_image: Tensor, k: int) -> float:
    best = _best(similarity, _own(similarity, text_to_image))
    return float(((similarity > best).sum(dim=1) < k).double().mean())


def _own_ties_lose(similarity: Tensor, text_to_image: Tensor, k: int) -> float:
    best = _best(similarity, _own(similarity, text_to_image))
    return float(((similarity >= best).sum(dim=1) <= k).double().mean())


def _all_of_them(similarity: Tensor, text_to_image: Tensor, k: int) -> float:
    own = _own(similarity, text_to_image)
    found = _found(similarity, text_to_image, k)
    return float((found | ~own).all(dim=1).double().mean())


def _first_text_only(similarity: Tensor, text_to_image: Tensor, k: int) -> float:
    first = _own(similarity, text_to_image).double().argmax(dim=1)  # (I,)
    found = _found(similarity, text_to_image, k)
    return float(found[torch.arange(len(first)), first].double().mean())


def _share_of_texts(similarity: Tensor, text_to_image: Tensor, k: int) -> float:
    own = _own(similarity, text_to_image)
    return float((_found(similarity, text_to_image, k).sum(dim=1) / own.sum(dim=1)).double().mean())


def _text_by_text(similarity: Tensor, text_to_image: Tensor, k: int) -> float:
    found = _found(similarity, text_to_image, k)
    return float(found.sum() / len(text_to_image))


def _text_to_image(similarity: Tensor, text_to_image: Tensor, k: int) -> float:
    own = similarity[text_to_image, torch.arange(len(text_to_image))]  # (T,)
    return float(((similarity >= own).sum(dim=0) <= k).double().mean())


def _in_order(similarity: Tensor, text_to_image: Tensor, k: int) -> float:
    """The texts are taken to lie image by image, as many for each."""
    images, texts = similarity.shape
    return _recall(similarity, torch.arange(texts) * images // texts, k)


def _mean_of_texts(similarity: Tensor, text_to_image: Tensor, k: int) -> float:
    own = _own(similarity, text_to_image)
    mean = (similarity * own).sum(dim=1, keepdim=True) / own.sum(dim=1, keepdim=True)
    return float((((similarity >= mean) & ~own).sum(dim=1) < k).double().mean())


RECALL_AT_K = (
    WrongAnswer(
        _ties_win,
        "Of equally similar texts you let the image's own win. A tie with another image's text "
        "counts against it.",
    ),
    WrongAnswer(
        _own_ties_lose,
        "Two texts of the same image push each other down when they tie. Only texts of other "
        "images do.",
    ),
    WrongAnswer(
        _all_of_them,
        "You ask for all texts of an image. Any one among the first k is a hit.",
    ),
    WrongAnswer(
        _first_text_only,
        "You look for the first text of each image only. Any of its texts is right.",
    ),
    WrongAnswer(
        _share_of_texts,
        "You count what share of its texts an image finds. One of them makes it a whole hit.",
    ),
    WrongAnswer(
        _text_by_text,
        "You count texts. Here images ask: each counts once, however many texts it has.",
    ),
    WrongAnswer(
        _text_to_image,
        "That is the other direction, text to image. Here each row, an image, looks for its texts.",
    ),
    WrongAnswer(
        _in_order,
        "You take the texts to lie image by image, as many for each. text_to_image says whose "
        "each is.",
    ),
    WrongAnswer(
        _mean_of_texts,
        "You rank the mean similarity of an image's texts. Its best text counts.",
    ),
    WrongAnswer(
        lambda s, t, k: _recall(s, t, 1),
        "You look at the first place only. With k above 1 an own text may stand lower.",
    ),
    WrongAnswer(
        lambda s, t, k: _recall(s, t, k + 1),
        "You let one too many through: ranks count from 1, and rank k is the last that counts.",
    ),
    WrongAnswer(
        lambda s, t, k: _recall(s, t, k - 1),
        "You let one too few through: an own text at rank k still counts.",
    ),
    WrongAnswer(
        lambda s, t, k: _recall(-s, t, k),
        "You rank from the least similar. The largest cosine comes first.",
    ),
    WrongAnswer(
        lambda s, t, k: float(_hits(s, t, k).sum()),
        "You return how many. A share is asked for: divide by the number of images.",
    ),
    WrongAnswer(
        lambda s, t, k: 100 * _recall(s, t, k),
        "You return percent. Return the share, between 0 and 1.",
    ),
    WrongAnswer(
        lambda s, t, k: _recall(s, t, k) / k,
        "You divide by k. One own text among the k is a whole hit.",
    ),
    WrongAnswer(
        lambda s, t, k: _recall(s.abs(), t, k),
        "You compare absolute values. A cosine near -1 is the least similar.",
    ),
)


def _ranks(values: Values, of: Callable[[int, int], float]) -> list[float]:
    """Ranks from how many values lie below, and how many are equal."""
    return [of(sum(o < v for o in values), sum(o == v for o in values)) for v in values]


def _mean_ranks(values: Values) -> list[float]:
    return _ranks(values, lambda below, equal: below + (equal + 1) / 2)


def _order(values: Values) -> list[int]:
    return sorted(range(len(values)), key=lambda place: values[place])


def _one_after_another(values: Values) -> list[float]:
    order = _order(values)
    return [order.index(place) + 1 for place in range(len(values))]


def _dense(values: Values) -> list[float]:
    different = sorted(set(values))
    return [different.index(value) + 1 for value in values]


AVERAGE_RANKS = (
    WrongAnswer(
        _one_after_another,
        "Equal values get different ranks, by their place in the list. They share the mean.",
    ),
    WrongAnswer(
        lambda v: _ranks(v, lambda below, equal: below + 1),
        "Equal values share the lowest of their ranks. They share the mean.",
    ),
    WrongAnswer(
        lambda v: _ranks(v, lambda below, equal: below + equal),
        "Equal values share the highest of their ranks. They share the mean.",
    ),
    WrongAnswer(
        _dense,
        "Equal values take one rank together, and the next value the next. Three equal values "
        "use up three ranks.",
    ),
    WrongAnswer(
        lambda v: [rank - 1 for rank in _mean_ranks(v)],
        "You count from 0. The smallest value alone has rank 1.",
    ),
    WrongAnswer(
        lambda v: _mean_ranks([-value for value in v]),
        "You count from the largest. The smallest value has rank 1.",
    ),
    WrongAnswer(
        _order,
        "That is an argsort: which value comes first, second, third. Asked for is each value's "
        "rank.",
    ),
    WrongAnswer(
        lambda v: [place + 1 for place in _order(v)],
        "That is an argsort counted from 1: which value comes first, second, third. Asked for is "
        "each value's rank.",
    ),
    WrongAnswer(
        lambda v: sorted(_mean_ranks(v)),
        "Your ranks are in rising order. Entry i is the rank of values[i].",
    ),
    WrongAnswer(
        sorted,
        "You sort the values. Asked for are their ranks, in the order of the list.",
    ),
    WrongAnswer(
        lambda v: _ranks(v, lambda below, equal: below + (equal + 1) // 2),
        "You round the shared rank down. The mean of 2 and 3 is 2.5.",
    ),
    WrongAnswer(
        lambda v: _ranks(v, lambda below, equal: below + equal / 2),
        "You add half of the equal ones. The ranks b + 1 to b + e have the mean b + (e + 1) / 2.",
    ),
    WrongAnswer(
        lambda v: [rank / len(v) for rank in _mean_ranks(v)],
        "You divide by the number of values. Ranks go from 1 to that number.",
    ),
    WrongAnswer(
        lambda v: _mean_ranks([abs(value) for value in v]),
        "You rank absolute values. -3 is less than 2.",
    ),
    WrongAnswer(
        lambda v: torch.tensor(_mean_ranks(v)),
        "You return a tensor. Make it a list: .tolist().",
    ),
)
