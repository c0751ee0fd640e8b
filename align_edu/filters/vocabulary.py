"""The vocabulary of the rule on rare words: where the most frequent tokens end.

Paper: Section 3 drops an alt-text that holds a unigram or bigram outside the 100 million most
frequent ones of the raw data. Both are ranked together, by their count; of the tokens tied at
the edge the first by the alphabet (by code point) are in, so that the number is exact.
"""

from collections.abc import Mapping
from typing import NamedTuple

# From this many pairs on, a token seen fewer times than the second number counts as rare.
RARE_BELOW = ((5_000, 3), (2_000, 2))
# If more of all words than this would be rare, the data is too small to tell.
MOST_RARE = 0.10
# From this many pairs on bigrams are judged too, unless more of them than this would be rare.
BIGRAMS_FROM = 1_000_000
MOST_RARE_BIGRAMS = 0.01


class Edge(NamedTuple):
    """Where the vocabulary ends."""

    least: int  # the count of its rarest tokens
    room: int | None  # how many of the tokens with that count are in it; None if all are


def edge_of(sizes: Mapping[int, int], size: int) -> Edge:
    """Find where the `size` most frequent tokens end.

    sizes: count -> number of different tokens with that count.

    >>> edge_of({1: 100, 2: 30, 7: 4}, size=10)
    Edge(least=2, room=6)
    >>> edge_of({1: 100, 2: 30, 7: 4}, size=34)
    Edge(least=2, room=None)
    """
    left = size
    for count in sorted(sizes, reverse=True):
        if sizes[count] > left:
            return Edge(count, left)
        left -= sizes[count]
        if left == 0:
            return Edge(count, None)
    return Edge(0, None)


def auto_edge(
    unigrams: Mapping[int, int], bigrams: Mapping[int, int], pairs: int
) -> tuple[Edge | None, bool, str]:
    """Choose the edge for data too small for the paper's 100 million tokens.

    Differs from the paper, whose number would keep every word of such data. A unigram is rare
    if it was seen fewer than 3 times (2 times below 5,000 pairs): among 100,000 toy pairs no
    clean one holds such a unigram, but every identifier, every query string and 99.9 % of the
    file names do. Below 2,000 pairs, or where a tenth of all words would be rare, the rule is
    not applied (of 300 toy pairs it would drop 28 % of the clean ones). Bigrams are judged
    from 1,000,000 pairs on, by the same count, unless more than 1 % of them would be rare: a
    bigram seen fewer than 3 times is in 3.8 % of 200,000 clean toy pairs and 0.7 % of 1,000,000.

    unigrams, bigrams: count -> number of different ones with that count in the raw data.
    pairs: number of raw pairs. Returns the edge, None if the rule should not be applied;
    whether bigrams are judged; and a note.

    >>> auto_edge({1: 5, 2: 4, 900: 80}, {}, pairs=6_000)
    (Edge(least=3, room=None), False, '80 unigrams seen 3 times or more; bigrams not judged')
    >>> auto_edge({900: 80}, {1: 7, 99: 400}, pairs=1_000_000)
    (Edge(least=3, room=None), True, '480 unigrams and bigrams seen 3 times or more')
    """
    least = next((count for fewest, count in RARE_BELOW if pairs >= fewest), None)
    if least is None:
        fewest = RARE_BELOW[-1][0]
        return None, False, f"{pairs:,} pairs are too few to tell rare words ({fewest:,} do)"
    words, rare = _frequent(unigrams, least)
    if rare > MOST_RARE:
        note = f"too little data: {rare:.0%} of all words were seen under {least} times"
        return None, False, note
    often = f"seen {least} times or more"
    if pairs < BIGRAMS_FROM:
        return Edge(least, None), False, f"{words:,} unigrams {often}; bigrams not judged"
    doubles, rare = _frequent(bigrams, least)
    if rare > MOST_RARE_BIGRAMS:
        note = f"bigrams not judged: {rare:.0%} of them were seen under {least} times"
        return Edge(least, None), False, f"{words:,} unigrams {often}; {note}"
    return Edge(least, None), True, f"{words + doubles:,} unigrams and bigrams {often}"


def _frequent(sizes: Mapping[int, int], least: int) -> tuple[int, float]:
    """Count the tokens seen at least `least` times, and the share of occurrences of the others."""
    frequent = {count: tokens for count, tokens in sizes.items() if count >= least}
    seen = sum(count * tokens for count, tokens in sizes.items())
    rare = 1 - sum(count * tokens for count, tokens in frequent.items()) / max(1, seen)
    return sum(frequent.values()), rare
