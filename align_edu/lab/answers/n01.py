"""Exercises of notebook 01: the words of an alt-text, and texts that many images share."""

from collections.abc import Sequence

import torch

from align_edu.lab.exercises import Cases, exercise


def count_words(text: str) -> int:
    """Return the number of words of an alt-text, its unigrams.

    Unicode NFKC comes first. Letters, digits and the marks on letters then make words;
    everything else separates them.

    Paper: Section 3 (alt-texts of fewer than 3 or more than 20 unigrams are dropped).

    >>> count_words("alt_img"), count_words("1920x1080"), count_words("A  cat - red!")
    (2, 1, 3)
    """
    import unicodedata

    text = unicodedata.normalize("NFKC", text)
    spaced = [c if unicodedata.category(c)[0] in "LNM" else " " for c in text]
    return len("".join(spaced).split())


def shared_texts(texts: Sequence[str], images: Sequence[str], most: int) -> set[str]:
    """Return the normalised texts that more than `most` different images have.

    texts[i] is an alt-text of images[i]; an image may occur more than once.

    Paper: Section 3 (with a bound of 10).

    >>> shared_texts(["Home", "home!", "a cat"], ["1.jpg", "2.jpg", "3.jpg"], most=1)
    {'home'}
    """
    import unicodedata

    images_of: dict[str, set[str]] = {}
    for text, image in zip(texts, images):
        text = unicodedata.normalize("NFKC", text).lower()
        spaced = [c if unicodedata.category(c)[0] in "LNM" else " " for c in text]
        normal = " ".join("".join(spaced).split())
        images_of.setdefault(normal, set()).add(image)
    return {text for text, owners in images_of.items() if len(owners) > most}


def _word_cases(g: torch.Generator) -> Cases:
    pieces = ("cat", "Red", "IMG", "crème", "हिन्दी", "1080", "2nd", "ａ", "it's")
    gaps = (" ", " ", "  ", "-", ", ", "_", "&", "\u00a0")
    every = [piece + gap for gap in gaps for piece in pieces]
    drawn = [torch.randint(len(every), (n,), generator=g).tolist() for n in (4, 9, 25)]
    return [("".join(every[n] for n in some),) for some in drawn]


def _shared_cases(g: torch.Generator) -> Cases:
    spellings = ("home", "Home", "HOME!", "a_cat", "a cat", "A cat.", "a dog", "1920x1080", "logo")
    cases: Cases = []
    for length, most in ((12, 1), (24, 2), (40, 3)):
        rows = torch.randint(len(spellings), (length,), generator=g).tolist()
        owners = torch.randint(length // 2, (length,), generator=g).tolist()
        cases.append(([spellings[n] for n in rows], [f"{n}.jpg" for n in owners], most))
    return cases


exercise(count_words, _word_cases)
exercise(shared_texts, _shared_cases)
