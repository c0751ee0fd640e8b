"""The vocabulary of the rule on rare words: where the most frequent tokens end.

Paper: Section 3 drops an alt-text that holds a unigram or bigram outside the 100 million most
frequent ones of the raw data. They are ranked together, by their count; of the tokens tied at
the edge the first by the alphabet (by code point) are in, so that the number is exact.
"""

from collections.abc import Mapping
from typing import NamedTuple

# From so many pairs on, a word seen fewer times than the second number counts as rare.
RARE_BELOW = ((5_000, 3), (2_000, 2))
# If more of all words than this would be rare, the data is too small to tell.
MOST_RARE = 0.10


class Edge(NamedTuple):
    """Where the vocabulary ends.

    Attributes
    ----------
    least : the count of the rarest tokens in it.
    room : how many of the tokens with that count are in it; None if all are.
    """

    least: int
    room: int | None


def edge_of(sizes: Mapping[int, int], size: int) -> Edge:
    """Find where the `size` most frequent tokens end.

    Parameters
    ----------
    sizes : count -> number of different tokens seen so often.

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


def auto_edge(sizes: Mapping[int, int], pairs: int) -> tuple[Edge | None, str]:
    """Choose the edge for data too small for the paper's 100 million tokens.

    Differs from the paper, whose number would keep everything here: the vocabulary holds each
    unigram that was seen at least 3 times (2 times below 5,000 pairs), and bigrams are not
    judged. Most bigrams of good words are singletons in small data: among 100,000 toy pairs,
    4 % of the clean ones hold a bigram seen once, while no clean pair holds such a unigram and
    every identifier, query string and nearly every file name (99.9 %) does. Below 2,000 pairs,
    or where a tenth of all words would be rare, no word can be called rare, and the rule is
    not applied (of 300 toy pairs it would drop 28 % of the clean ones).

    Parameters
    ----------
    sizes : count -> number of different unigrams seen so often in the raw data.
    pairs : number of raw pairs.

    Returns
    -------
    The edge, or None if the rule should not be applied; and a note.

    >>> auto_edge({1: 5, 2: 4, 900: 80}, pairs=6_000)
    (Edge(least=3, room=None), '80 unigrams seen 3 times or more; bigrams not judged')
    """
    least = next((count for fewest, count in RARE_BELOW if pairs >= fewest), None)
    if least is None:
        return None, f"{pairs:,} pairs are too few to tell rare words ({RARE_BELOW[-1][0]:,} do)"
    words = sum(count * tokens for count, tokens in sizes.items())
    known = {count: tokens for count, tokens in sizes.items() if count >= least}
    rare = 1 - sum(count * tokens for count, tokens in known.items()) / max(1, words)
    if rare > MOST_RARE:
        return None, f"too little data: {rare:.0%} of all words were seen under {least} times"
    note = f"{sum(known.values()):,} unigrams seen {least} times or more; bigrams not judged"
    return Edge(least, None), note
