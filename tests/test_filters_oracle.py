"""The filters against an oracle in plain Python, written from the paper and our stated choices."""

import random
from collections import Counter, defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from align_edu.filters import Rules, filter_pairs
from tests.samples import words_of


def tokens_of(words: list[str]) -> list[str]:
    return words + [f"{a} {b}" for a, b in zip(words, words[1:])]


def oracle_kept(rows: list[dict[str, Any]], rules: Rules) -> list[int]:
    texts = [words_of(row["caption"]) for row in rows]
    images = [row["sha256"] or row["url"] or None for row in rows]
    alt_texts = Counter(i for i, row in zip(images, rows) if row["caption"] is not None)
    images_of: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for words, name in zip(texts, images):
        images_of[tuple(words)] |= {name} if name is not None else set()
    seen = Counter(token for words in texts for token in tokens_of(words))
    ranked = sorted(seen, key=lambda token: (-seen[token], token.encode()))
    vocabulary = set(ranked[: rules.vocabulary_size or len(ranked)])
    kept = []
    for number, (row, words, name) in enumerate(zip(rows, texts, images)):
        width, height = row["original_width"], row["original_height"]
        good = width is not None and height is not None and min(width, height) > rules.min_side
        good = good and max(width, height) < rules.max_aspect * min(width, height)
        good = good and (name is None or alt_texts[name] <= rules.max_texts_per_image)
        good = good and len(images_of[tuple(words)]) <= rules.max_images_per_text
        good = good and set(tokens_of(words)) <= vocabulary
        good = good and rules.min_words <= len(words) <= rules.max_words
        kept += [number] if good else []
    return kept


PIECES = ["cat", "CAT", "Cat.", "dog", "dog's", "a", "a", "alt_img"]
PIECES += ["1920x1080", "&id", "-", "\t", "\u00a0", "\u200b", "x" * 3000]
# Ligature, sharp s, dotted I, accents, final sigma, full width, ohm, digraph, fraction.
PIECES += ["\ufb01sh", "Stra\u00dfe", "\u0130stanbul", "caf\u00e9", "cafe\u0301", "\u0301"]
PIECES += ["\u039f\u03a3", "\uff23\uff21\uff34", "\u2126", "\u01c5", "\u00bd", "\u00b2"]
# Emoji with selector and joiner, Chinese, Thai and Arabic with marks.
PIECES += ["\U0001f600", "\u2764\ufe0f", "\U0001f468\u200d\U0001f469", "\u4e2d\u6587"]
PIECES += ["\u0e01\u0e34\u0e19", "\u0645\u064e\u0631"]

BOUNDS: dict[str, list[Any]] = {
    "min_side": [0, 100, 200],
    "max_aspect": [1.0, 2.0, 3.0, 50.0],
    "max_texts_per_image": [2, 4, 9, 1000],
    "max_images_per_text": [1, 2, 3, 10],
    "vocabulary_size": [None, 1, 5, 20, 60, 10**8],
    "min_words": [0, 1, 3],
    "max_words": [3, 5, 20],
}


def random_rows(rng: random.Random) -> list[dict[str, Any]]:
    texts = [None, "", " "]
    texts += [
        rng.choice(["", " "]).join(rng.choices(PIECES, k=rng.randint(1, 8))) for _ in range(8)
    ]
    texts += [" ".join(rng.choices(PIECES[:8], k=n)) for n in (2, 3, 4, 6)]
    return [
        {
            "caption": rng.choice(texts),
            "sha256": rng.choice([None, "", "a", "b", "c", "d"]),
            "url": rng.choice([None, "", "a", "e", "f"]),
            "original_width": rng.choice([None, 0, 199, 200, 201, 300, 599, 600, 601, 603, 10_000]),
            "original_height": rng.choice([None, 200, 201, 201, 202, 300, 600, 603]),
            "number": number,
        }
        for number in range(rng.randint(1, 120))
    ]


def test_the_kept_set_is_the_oracle_s_on_adversarial_tables(tmp_path):
    types = {name: pa.string() for name in ("caption", "sha256", "url")}
    types |= {name: pa.int64() for name in ("original_width", "original_height", "number")}
    kept_any, decided = 0, Counter[Any]()
    for seed in range(200):
        rng = random.Random(seed)
        rows = random_rows(rng)
        bounds = {name: rng.choice(values) for name, values in BOUNDS.items()}
        table = pa.Table.from_pylist(rows, schema=pa.schema(list(types.items())))
        funnel = filter_pairs(table, tmp_path, rules=Rules(**bounds))
        kept = pa.parquet.read_table(tmp_path / "pairs.parquet")["number"].to_pylist()
        assert kept == oracle_kept(rows, Rules(**bounds)), f"seed {seed}"
        kept_any += len(kept)
        decided.update(step.rule for step in funnel.steps if step.dropped)
        decided.update(bounds.items())
    assert kept_any > 250
    rules = ("short_side", "aspect_ratio", "texts_per_image", "images_per_text", "rare_words")
    assert min(decided[rule] for rule in (*rules, "length")) >= 20
    assert min(decided[name, value] for name, values in BOUNDS.items() for value in values) >= 20
