"""Exercises of notebook 03: WordPiece, and how much of BERT is its table of pieces."""

from collections.abc import Callable, Collection, Iterable, Iterator

import torch

from align_edu.lab.exercises import Answer, Cases, exercise

UNKNOWN = "[UNK]"
Vocabulary = Collection[str]


def wordpieces(word: str, vocabulary: Vocabulary) -> list[str]:
    """Return the pieces of one word, the longest known beginning first; else ["[UNK]"].

    A piece inside a word is marked with ## in the vocabulary and in the answer.

    Paper: Sections 4.1 and 5 (wordpieces).

    >>> wordpieces("cats", {"ca", "cat", "##s", "##ts"})
    ['cat', '##s']
    """
    pieces: list[str] = []
    start = 0
    while start < len(word):
        mark = "##" if start else ""
        ends = range(len(word), start, -1)  # the longest first
        end = next((end for end in ends if mark + word[start:end] in vocabulary), None)
        if end is None:
            return ["[UNK]"]
        pieces.append(mark + word[start:end])
        start = end
    return pieces


def embedding_share(vocabulary: int, width: int, layers: int, positions: int) -> float:
    """Return the fraction of BERT's parameters in its table of pieces.

    BERT without its pooler: each layer has attention, a feed-forward part four times as wide,
    and two LayerNorms, all with biases.

    Paper: Sections 4.1 and 6.1 (100k pieces, BERT-Mini to BERT-Large).

    >>> f"{embedding_share(30_522, 768, 12, 512):.1%}"
    '21.5%'
    """
    table = vocabulary * width
    others = positions * width + 2 * width + 2 * width  # positions, token types, LayerNorm
    attention = 4 * (width * width + width)  # query, key, value, output
    feed_forward = (width * 4 * width + 4 * width) + (4 * width * width + width)
    norms = 2 * 2 * width
    return table / (table + others + layers * (attention + feed_forward + norms))


def _word_cases(g: torch.Generator) -> Cases:
    cases: Cases = []
    for length in range(2, 10):
        letters = torch.randint(2, (length + 24,), generator=g).tolist()
        text = "".join("ab"[n] for n in letters)
        pieces = ["a", "##a", "##b", text[:2], text[2:5], "##" + text[5:8], "##" + text[8:11]]
        cases.append((text[-length:], sorted(set(pieces))))
    return cases


def _marked(part: str, start: int) -> str:
    return "##" + part if start else part


def _cut(
    form: Callable[[str, int], str] = _marked,
    look_up: Callable[[str, int], set[str]] = lambda part, start: {_marked(part, start)},
    ends: Callable[[int, int], Iterable[int]] = lambda start, last: range(last, start, -1),
    missing: list[str] | None = None,
) -> Answer:
    """Return a function that cuts from the left.

    form: how a part that begins at a place is written. look_up: what the vocabulary must hold
    for it, any of these. ends: the ends to try. missing: stands for a letter that begins no
    piece; without it the word is unknown.
    """

    def cut(word: str, vocabulary: Vocabulary) -> list[str]:
        pieces: list[str] = []
        known, start = set(vocabulary), 0
        while start < len(word):
            fits = (e for e in ends(start, len(word)) if look_up(word[start:e], start) & known)
            end = next(fits, None)
            if end is None and missing is None:
                return [UNKNOWN]
            pieces += missing or [] if end is None else [form(word[start:end], start)]
            start = end or start + 1
        return pieces

    return cut


def _all_cuts(word: str, vocabulary: Vocabulary, start: int = 0) -> Iterator[list[str]]:
    """Yield every possible cut of the word, longer first pieces before shorter ones."""
    if start == len(word):
        yield []
    for end in range(len(word), start, -1):
        piece = _marked(word[start:end], start)
        if piece in vocabulary:
            yield from ([piece, *rest] for rest in _all_cuts(word, vocabulary, end))


def _from_the_right(word: str, vocabulary: Vocabulary) -> list[str]:
    starts = (s for s in range(len(word)) if _marked(word[s:], s) in vocabulary)
    start = next(starts, None)
    if start is None:
        return [UNKNOWN] if word else []
    rest = _from_the_right(word[:start], vocabulary)
    return [UNKNOWN] if UNKNOWN in rest else [*rest, _marked(word[start:], start)]


def _keeps_pieces(word: str, vocabulary: Vocabulary) -> list[str]:
    pieces = _cut(missing=[UNKNOWN])(word, vocabulary)
    return pieces[: pieces.index(UNKNOWN) + 1] if UNKNOWN in pieces else pieces


def _share(
    squares: int = 12,
    singles: int = 13,
    small: int = 4,
    positions: int | None = None,
    layers: int | None = None,
) -> Answer:
    """Return the share with other numbers of matrices and vectors."""
    return lambda v, h, n, p: (
        1
        / (
            1
            + ((p if positions is None else positions) + small) / v
            + (layers or n) * (squares * h + singles) / v
        )
    )


exercise(
    wordpieces,
    _word_cases,
    no_mark=_cut(lambda part, at: part, lambda part, at: {part}),
    unmarked_lookup=_cut(look_up=lambda part, at: {part}),
    either_place=_cut(look_up=lambda part, at: {part, "##" + part}),
    first_marked=_cut(lambda part, at: "##" + part, lambda part, at: {"##" + part}),
    marks_removed=lambda w, v: [piece.removeprefix("##") for piece in wordpieces(w, v)],
    shortest=_cut(ends=lambda start, last: range(start + 1, last + 1)),
    never_one_letter=_cut(ends=lambda start, last: range(last, start + 1, -1)),
    goes_back=lambda w, v: next(_all_cuts(w, v), [UNKNOWN]),
    fewest_pieces=lambda w, v: min(_all_cuts(w, v), key=len, default=[UNKNOWN]),
    from_the_right=_from_the_right,
    whole_word=lambda w, v: [w] if w in v else [UNKNOWN],
    keeps_pieces=_keeps_pieces,
    letter_unknown=_cut(missing=[UNKNOWN]),
    letters_left_out=_cut(missing=[]),
    nothing=lambda w, v: [piece for piece in wordpieces(w, v) if piece != UNKNOWN],
    unknown_as_text=lambda w, v: UNKNOWN if wordpieces(w, v) == [UNKNOWN] else wordpieces(w, v),
    one_text=lambda w, v: " ".join(wordpieces(w, v)),
)

exercise(
    embedding_share,
    lambda g: [
        (10 * a, b, c % 5 + 1, d)
        for a, b, c, d in torch.randint(2, 40, (4, 4), generator=g).tolist()
    ],
    times={"per_cent": 100},
    no_biases=_share(singles=4),
    no_layer_norms=_share(singles=9),
    matrices_only=_share(singles=0),
    positions_only=_share(small=0),
    half_of_small=_share(small=2),
    no_positions=_share(positions=0),
    table_only=_share(positions=0, small=0),
    one_layer=_share(layers=1),
    no_feed_forward=_share(squares=4, singles=6),
    no_attention=_share(squares=8, singles=9),
    three_in_attention=_share(squares=11, singles=12),
    one_matrix=_share(squares=8, singles=12),
    narrow_feed_forward=_share(squares=6, singles=10),
    pooler=lambda v, h, n, p: v * h / (v * h / embedding_share(v, h, n, p) + h * h + h),
    divided_by_rest=lambda v, h, n, p: 1 / (1 / embedding_share(v, h, n, p) - 1),
    all_embeddings=lambda v, h, n, p: embedding_share(v, h, n, p) * (v + p + 4) / v,
    the_rest=lambda v, h, n, p: 1 - embedding_share(v, h, n, p),
    a_number=lambda v, h, n, p: v * h,
)
