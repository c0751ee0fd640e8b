"""Exercises of notebook 03."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import torch

from align_edu.lab.exercise import Exercise, Hint, WrongAnswer

UNKNOWN = "[UNK]"


def wordpieces(word: str, vocabulary: Collection[str]) -> list[str]:
    """Return the pieces of one word, the longest known beginning first; ["[UNK]"] if it has none.

    A piece inside a word carries the mark ## in the vocabulary and in the answer.

    Paper: Sections 4.1 and 5 (wordpieces).

    >>> wordpieces("cats", {"ca", "cat", "##s", "##ts"})
    ['cat', '##s']
    """
    pieces, start = [], 0
    while start < len(word):
        mark = "##" if start else ""
        ends = range(len(word), start, -1)  # the longest first
        end = next((end for end in ends if mark + word[start:end] in vocabulary), None)
        if end is None:
            return [UNKNOWN]
        pieces.append(mark + word[start:end])
        start = end
    return pieces


def embedding_share(vocabulary: int, width: int, layers: int, positions: int) -> float:
    """Return the fraction of BERT's parameters that its table of pieces holds.

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


def _word_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        ("cats", ["ca", "cat", "##s", "##ts"]),
        ("cat", ["c", "##a", "##t", "cat"]),
        ("scat", ["s", "cat", "##c", "##at", "##cat"]),
        ("scat", ["s", "cat", "##c", "##at"]),
        ("abc", ["a", "ab", "##bc"]),
        ("abcde", ["ab", "abc", "##cde", "##d", "##e"]),
        ("catx", ["cat", "##s", "c", "##a", "##t"]),
        ("xcat", ["cat", "##cat", "##x"]),
        ("umbrellas", ["umb", "umbrella", "##rella", "##rellas", "##s"]),
        ("bed", ["b", "be", "##e", "##d", "##ed"]),
        ("s", ["##s", "t"]),
        ("a", ["a"]),
    ]
    random = []
    for length in (2, 3, 4, 5, 6, 7, 8, 9):
        letters = torch.randint(2, (length + 24,), generator=generator).tolist()
        text = "".join("ab"[n] for n in letters)
        pieces = ["a", "##a", "##b", text[:2], text[2:5], "##" + text[5:8], "##" + text[8:11]]
        random.append((text[-length:], sorted(set(pieces))))
    return by_hand + random


def _share_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [(5, 2, 0, 3), (10, 4, 1, 8), (10, 4, 2, 8), (100, 8, 3, 16), (7, 1, 2, 5)]
    paper = [(100_000, 256, 4, 64), (100_000, 1024, 24, 64), (30_522, 768, 12, 512)]
    random = []
    for _ in range(4):
        sizes = torch.randint(2, 40, (4,), generator=generator).tolist()
        random.append((10 * sizes[0], sizes[1], sizes[2] % 5 + 1, sizes[3]))
    return by_hand + paper + random


def _cut(
    word: str,
    form: Callable[[str, int], str | None],
    ends: Callable[[int, int], Iterable[int]] = lambda start, last: range(last, start, -1),
) -> tuple[list[str], int]:
    """Pieces from the left, and where it stopped; form says what a part counts as, or None."""
    pieces: list[str] = []
    start = 0
    while start < len(word):
        for end in ends(start, len(word)):
            piece = form(word[start:end], start)
            if piece is not None:
                pieces.append(piece)
                start = end
                break
        else:
            return pieces, start
    return pieces, start


def _whole(cut: tuple[list[str], int], word: str) -> list[str]:
    return cut[0] if cut[1] == len(word) else [UNKNOWN]


def _marked(part: str, start: int) -> str:
    return "##" + part if start else part


def _known(vocabulary: Collection[str]) -> Callable[[str, int], str | None]:
    def form(part: str, start: int) -> str | None:
        piece = _marked(part, start)
        return piece if piece in vocabulary else None

    return form


def _all_cuts(word: str, vocabulary: Collection[str], start: int = 0) -> Iterator[list[str]]:
    """Every way to cut the word, longer first pieces before shorter ones."""
    if start == len(word):
        yield []
    for end in range(len(word), start, -1):
        piece = _marked(word[start:end], start)
        if piece in vocabulary:
            for rest in _all_cuts(word, vocabulary, end):
                yield [piece, *rest]


def _from_the_right(word: str, vocabulary: Collection[str]) -> list[str]:
    pieces: list[str] = []
    end = len(word)
    while end:
        starts = (s for s in range(end) if _marked(word[s:end], s) in vocabulary)
        start = next(starts, None)
        if start is None:
            return [UNKNOWN]
        pieces.insert(0, _marked(word[start:end], start))
        end = start
    return pieces


def _letter_by_letter(word: str, vocabulary: Collection[str], instead: list[str]) -> list[str]:
    """Go on behind a letter that nothing begins with."""
    pieces: list[str] = []
    start = 0
    while start < len(word):
        ends = range(len(word), start, -1)
        end = next((e for e in ends if _marked(word[start:e], start) in vocabulary), None)
        pieces += instead if end is None else [_marked(word[start:end], start)]
        start = start + 1 if end is None else end
    return pieces


def _up_to_the_gap(word: str, vocabulary: Collection[str]) -> list[str]:
    pieces, stopped = _cut(word, _known(vocabulary))
    return pieces if stopped == len(word) else [*pieces, UNKNOWN]


def _with_form(
    form: Callable[[str, int, Collection[str]], str | None],
) -> Callable[[str, Collection[str]], list[str]]:
    return lambda word, vocabulary: _whole(
        _cut(word, lambda part, start: form(part, start, vocabulary)), word
    )


def _with_ends(
    ends: Callable[[int, int], Iterable[int]],
) -> Callable[[str, Collection[str]], list[str]]:
    return lambda word, vocabulary: _whole(_cut(word, _known(vocabulary), ends), word)


def _rest(width: int, layers: int, positions: int, **changes: int) -> int:
    """All parameters but the table's, some parts changed."""
    squares, singles = changes.get("squares", 12), changes.get("singles", 13)
    embeddings = (positions + changes.get("small", 4)) * width
    return embeddings + layers * (squares * width * width + singles * width)


def _share(
    positions_count: bool = True, layers_count: bool = True, **changes: int
) -> Callable[[int, int, int, int], float]:
    def share(vocabulary: int, width: int, layers: int, positions: int) -> float:
        table = vocabulary * width
        positions, layers = positions * positions_count, layers if layers_count else 1
        return table / (table + _rest(width, layers, positions, **changes))

    return share


WORDPIECES = (
    WrongAnswer(
        _with_form(lambda part, start, known: part if part in known else None),
        "The mark ## is missing: behind the first piece, look for '##' + the part.",
    ),
    WrongAnswer(
        _with_form(lambda part, start, known: _marked(part, start) if part in known else None),
        'You look for the part without its mark: "cat" at a word\'s start and "##cat" inside '
        "one are two entries.",
    ),
    WrongAnswer(
        _with_form(
            lambda part, start, known: (
                _marked(part, start) if {part, "##" + part} & set(known) else None
            )
        ),
        "You take a piece from either place: without ## it may only begin a word, with ## it may "
        "only go on.",
    ),
    WrongAnswer(
        _with_form(lambda part, start, known: "##" + part if "##" + part in known else None),
        "The first piece has no mark: put ## only behind it.",
    ),
    WrongAnswer(
        lambda word, vocabulary: [
            piece.removeprefix("##") for piece in wordpieces(word, vocabulary)
        ],
        "The right cuts, but without their marks. Return the pieces as the vocabulary has them, "
        "with ##.",
    ),
    WrongAnswer(
        _with_ends(lambda start, last: range(start + 1, last + 1)),
        "You take the shortest known piece first. Try the longest first, then shorter ones.",
    ),
    WrongAnswer(
        _with_ends(lambda start, last: range(last, start + 1, -1)),
        "You never try a part of one letter: range stops before its end, so let it stop at the "
        "start itself.",
    ),
    WrongAnswer(
        lambda word, vocabulary: next(_all_cuts(word, vocabulary), [UNKNOWN]),
        "You go back and try a shorter piece when the rest does not fit. WordPiece never goes "
        "back: the word is then unknown.",
    ),
    WrongAnswer(
        lambda word, vocabulary: min(_all_cuts(word, vocabulary), key=len, default=[UNKNOWN]),
        "You look for the fewest pieces. WordPiece only looks for the longest next one, from the "
        "left.",
    ),
    WrongAnswer(
        _from_the_right,
        "You cut from the end of the word. WordPiece begins at its first letter.",
    ),
    WrongAnswer(
        lambda word, vocabulary: [word] if word in vocabulary else [UNKNOWN],
        "You look for the whole word only. A word that is not there is cut into pieces.",
    ),
    WrongAnswer(
        _up_to_the_gap,
        'You keep the pieces found so far. If a part does not fit, the whole word is ["[UNK]"].',
    ),
    WrongAnswer(
        lambda word, vocabulary: _letter_by_letter(word, vocabulary, [UNKNOWN]),
        "You write [UNK] for a letter and go on. One part that does not fit makes the whole word "
        "unknown.",
    ),
    WrongAnswer(
        lambda word, vocabulary: _letter_by_letter(word, vocabulary, []),
        "You leave out letters that do not fit. One of them makes the whole word unknown.",
    ),
    WrongAnswer(
        lambda word, vocabulary: [
            piece for piece in wordpieces(word, vocabulary) if piece != UNKNOWN
        ],
        'You return nothing for a word that does not fit. Return ["[UNK]"].',
    ),
    WrongAnswer(
        lambda word, vocabulary: (
            UNKNOWN if wordpieces(word, vocabulary) == [UNKNOWN] else wordpieces(word, vocabulary)
        ),
        'An unknown word is a list of one piece too: ["[UNK]"], in brackets.',
    ),
    WrongAnswer(
        lambda word, vocabulary: " ".join(wordpieces(word, vocabulary)),
        "You return one text. Return the list of its pieces.",
    ),
)

EMBEDDING_SHARE = (
    WrongAnswer(
        _share(squares=12, singles=4),
        "The biases of the linear layers are missing: 4 of the attention's, each as wide as "
        "BERT, and one of 4 times the width and one of the width in the feed-forward part.",
    ),
    WrongAnswer(
        _share(singles=9),
        "The two LayerNorms of each layer are missing: each has a weight and a bias, together 4 "
        "times the width a layer.",
    ),
    WrongAnswer(
        _share(singles=0),
        "Only matrices are counted in the layers: the biases and the two LayerNorms are missing.",
    ),
    WrongAnswer(
        _share(small=0),
        "Around the table you count the positions only: token types and a LayerNorm are missing, "
        "4 times the width.",
    ),
    WrongAnswer(
        _share(small=2),
        "2 times the width is missing around the table: both the two token types and the "
        "LayerNorm, a weight and a bias, belong there.",
    ),
    WrongAnswer(
        _share(positions_count=False),
        "The positions are missing: each has a row of the width.",
    ),
    WrongAnswer(
        _share(positions_count=False, small=0),
        "Beside the table of pieces there are others: positions, token types and a LayerNorm.",
    ),
    WrongAnswer(
        _share(layers_count=False),
        "You count one layer. There are `layers` of them, each with weights of its own.",
    ),
    WrongAnswer(
        _share(squares=4, singles=6),
        "The feed-forward part is missing: width to 4 times the width, and back.",
    ),
    WrongAnswer(
        _share(squares=8, singles=9),
        "The attention is missing: query, key, value and output, each width times width.",
    ),
    WrongAnswer(
        _share(squares=11, singles=12),
        "The attention has four linear layers: behind query, key and value comes the output.",
    ),
    WrongAnswer(
        _share(squares=8, singles=12),
        "The feed-forward part has two matrices: one up to 4 times the width, one back.",
    ),
    WrongAnswer(
        _share(squares=6, singles=10),
        "The feed-forward part is 4 times as wide as BERT: its matrices have 4 times the width "
        "squared.",
    ),
    WrongAnswer(
        lambda v, h, n, p: v * h / (v * h + _rest(h, n, p) + h * h + h),
        "You count a pooler. ALIGN's tower takes the last hidden state and has none.",
    ),
    WrongAnswer(
        lambda v, h, n, p: v * h / _rest(h, n, p),
        "You divide by all the others. A share is the part divided by the whole, the table "
        "included.",
    ),
    WrongAnswer(
        lambda v, h, n, p: (v + p + 4) * h / (v * h + _rest(h, n, p)),
        "You count all embeddings as the table. Only the rows of the pieces are asked for.",
    ),
    WrongAnswer(
        lambda v, h, n, p: _rest(h, n, p) / (v * h + _rest(h, n, p)),
        "That is the share of everything else. Asked for is the table's own.",
    ),
    WrongAnswer(
        lambda v, h, n, p: v * h,
        "That is the number of the table's parameters. Divide it by all parameters.",
    ),
    WrongAnswer(
        lambda v, h, n, p: 100 * v * h / (v * h + _rest(h, n, p)),
        "You give per cent. Asked for is a fraction between 0 and 1.",
    ),
)

EXERCISES = (
    Exercise(
        "03",
        wordpieces,
        _word_cases,
        WORDPIECES,
        (
            Hint("Where to begin?", "start = 0; the first candidate is word[start:], all of it."),
            Hint("And if it is unknown?", "One letter shorter at the end, until one is known."),
            Hint("What then?", "start moves behind it; from now on look for '##' + the part."),
        ),
    ),
    Exercise(
        "03",
        embedding_share,
        _share_cases,
        EMBEDDING_SHARE,
        (
            Hint("What has a linear layer?", "From m to n: m * n weights and n biases."),
            Hint("What has one layer of BERT?", "12 width² + 13 width, when all is added up."),
            Hint("What is beside the table?", "positions + 2 token types + 2 for the LayerNorm."),
        ),
    ),
)
