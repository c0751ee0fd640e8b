"""The toy world's pictures named in five languages, and its words paired by their meaning."""

import itertools
from pathlib import Path

import numpy as np

from align_edu.evaluation.languages import Captions, WordPairs
from align_edu.world.catalog import COLOUR_WORDS, KINDS, NOUNS, WEB
from align_edu.world.tasks import task_picture

LANGUAGES = ("de", "fr", "es", "it")  # the columns of web.toml's foreign_nouns
SAME, RELATED, OTHER = 10.0, 5.0, 0.0  # one meaning; one family of kinds; neither
_SIZE = 58  # pixels a side, as the toy model trains


def toy_captions() -> Captions:
    """Draw a picture of each kind of object, named in English and four other languages.

    >>> captions = toy_captions()
    >>> captions.texts["en"][0], captions.texts["fr"][0], len(captions.files)
    ('dog', 'chien', 40)
    """
    pictures = [
        task_picture("object", kind, np.random.default_rng(number), _SIZE)
        for number, kind in enumerate(NOUNS)
    ]
    texts = {"en": [names[0][0] for names in NOUNS.values()]}
    for column, language in enumerate(LANGUAGES):
        texts[language] = [WEB["foreign_nouns"][kind][column] for kind in NOUNS]
    return Captions([Path(kind) for kind in NOUNS], pictures.__getitem__, texts)


def toy_word_pairs() -> WordPairs:
    """Pair the names of kinds (N) and of colours (A), each with its synonyms and with the others.

    >>> pairs = toy_word_pairs()
    >>> i = pairs.second.index("cat")
    >>> pairs.first[i], pairs.scores[i], pairs.parts[i]
    ('dog', 5.0, 'N')
    """
    nouns = {kind: [one for one, _ in names] for kind, names in NOUNS.items()}
    family = {kind: KINDS[kind].family for kind in nouns} | {name: name for name in COLOUR_WORDS}
    rows = []
    for part, names_of in (("N", nouns), ("A", COLOUR_WORDS)):
        rows += [
            (names[0], other, SAME, part) for names in names_of.values() for other in names[1:]
        ]
        for one, two in itertools.combinations(names_of, 2):
            score = RELATED if family[one] == family[two] else OTHER
            rows.append((names_of[one][0], names_of[two][0], score, part))
    return WordPairs(*(list(column) for column in zip(*rows, strict=True)))
