"""Exercises of notebook 03."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import torch

from align_edu.lab.answers import n03_share
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
    n03_share.EXERCISE,
)
