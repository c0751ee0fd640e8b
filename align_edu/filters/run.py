"""From raw pairs to kept pairs: all rules over one table, on one machine."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet

from align_edu.errors import InputError
from align_edu.files import write_json, written_whole
from align_edu.filters import image, text
from align_edu.filters.funnel import Funnel, Outcome, Truth, build_steps, judge
from align_edu.filters.near_duplicates import near_duplicates
from align_edu.filters.rules import Rules
from align_edu.pairs.shards import open_pairs
from align_edu.pairs.table import KEPT_PAIRS, SOURCE, filtered_source, is_filtered, read_pairs

# What a user can add to a table that lacks one of our own columns.
LACKING = {"unsafe": " or ".join(image.SCORES), "image": "sha256 or url"}


def filter_pairs(
    pairs: str | Path | pa.Table,
    out: str | Path,
    *,
    rules: Rules | None = None,
    vocabulary_size: int | None = None,
    against: Sequence[str | Path] = (),
    workers: int | None = None,
    progress: bool = False,
) -> Funnel:
    """Drop noisy pairs by the paper's minimal, frequency-based rules.

    Frequencies (alt-texts of an image, images of an alt-text, words) are counted over all raw
    pairs, whatever other rules drop.

    Parameters
    ----------
    pairs : what `read_pairs` reads, or its table.
    out : folder for pairs.parquet (the kept rows, their columns unchanged) and funnel.json.
    rules : bounds, the paper's by default. A rule whose columns are missing is not applied,
        and the funnel says so.
    vocabulary_size : replaces the one in `rules`.
    against : evaluation sets whose near-duplicates go: benchmarks or folders of images. The
        pairs must then be shards, or the output of an earlier filter.
    workers : processes that hash images; as many as there are cores if None.
    progress : show a progress bar while hashing.

    Returns
    -------
    Funnel: pairs in and out of each rule; prints as a table.

    Raises
    ------
    InputError if the pairs cannot be read, lack the column `caption`, or have a column of a
        wrong type; if `out` is a file or the folder of the pairs.

    Paper: Section 3.

    >>> import tempfile
    >>> rows = {"caption": ["a red cat on a beach", "1920x1080"], "url": ["x/1", "x/2"]}
    >>> funnel = filter_pairs(pa.table(rows), tempfile.mkdtemp())
    >>> funnel.raw, funnel.kept, [step.rule for step in funnel.steps if step.dropped]
    (2, 1, ['length'])
    """
    out, rules = Path(out), rules or Rules()
    if vocabulary_size is not None:
        rules = replace(rules, vocabulary_size=vocabulary_size)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the filter's output")
    table, shards = _open_table(pairs, out)
    rows = _rows(table)
    outcomes = [
        *_image_rules(rows, rules),
        _near_duplicates(table, rows, rules, shards, against, workers, progress),
        *_text_rules(rows, rules),
    ]
    steps, kept = build_steps(outcomes, rows["caption"].to_list())
    funnel = Funnel(
        raw=table.num_rows,
        kept=int(kept.sum()),
        steps=steps,
        truth=_truth(table, kept, outcomes),
        source=None if shards is None else os.path.relpath(shards, out.resolve()),
    )
    _write(table.filter(pa.array(kept)), funnel, shards, out)
    return funnel


def _open_table(pairs: str | Path | pa.Table, out: Path) -> tuple[pa.Table, Path | None]:
    """The raw pairs, and where their images are."""
    if isinstance(pairs, pa.Table):
        table, shards, name = pairs, None, "the table"
    else:
        table, shards, name = read_pairs(pairs), _shards_of(Path(pairs)), str(pairs)
        if Path(pairs).resolve() in (out.resolve(), out.resolve() / KEPT_PAIRS):
            raise InputError(f"{out}: holds the raw pairs; give another folder for the output")
    if "caption" not in table.column_names:
        raise InputError(f"{name}: no texts, the column `caption` is missing")
    if table.num_rows == 0:
        raise InputError(f"{name}: holds no pairs")
    return table, shards


def _shards_of(path: Path) -> Path | None:
    """Where the images of a pairs table lie: a folder of shards, a single .tar, or nowhere."""
    if is_filtered(path):
        try:
            return filtered_source(path)
        except InputError:  # made from a table without shards, or they are gone
            return None
    if path.with_suffix(".tar").is_file():
        return path.with_suffix(".tar").resolve()
    folder = path if path.is_dir() else path.parent
    return folder.resolve() if next(folder.glob("*.tar"), None) is not None else None


def _rows(table: pa.Table) -> pl.DataFrame:
    """The columns that the rules look at, with the text normalised."""
    names = ["caption", "sha256", "url", *image.SIZE, *image.SCORES]
    rows = pl.DataFrame(pl.from_arrow(table.select([n for n in names if n in table.column_names])))
    columns = rows.columns
    for name, dtype in rows.schema.items():
        number, word = dtype.is_numeric(), dtype == pl.String
        fits = number if name in image.SIZE else word or (number and name in image.SCORES)
        if not fits and dtype != pl.Null:
            raise InputError(f"column `{name}` holds {dtype}, which its rule cannot read")
    derived: list[pl.Expr | pl.Series] = [
        text.normalised(pl.col("caption").cast(pl.String)).alias("text")
    ]
    derived += [
        pl.col(name).cast(pl.Float64).fill_nan(None) for name in image.SIZE if name in columns
    ]
    derived += [image.unsafe_score(rows[name]) for name in image.SCORES if name in columns][:1]
    if "sha256" in columns or "url" in columns:
        derived.append(image.image_identity(columns))
    return rows.with_columns(derived)


def _outcome(
    rows: pl.DataFrame,
    rule: str,
    says: str,
    bound: Any,
    drops: Callable[[Any], pl.Expr],
    needs: Sequence[str],
) -> Outcome:
    """Apply one rule's expression, unless it is off (no bound) or lacks a column."""
    if bound is None:
        return Outcome(rule, says, None, "turned off")
    lacking = [LACKING.get(name, name) for name in needs if name not in rows.columns]
    if lacking:
        return Outcome(rule, says, None, f"no column {' and '.join(lacking)}")
    return Outcome(rule, says, rows.select(drops(bound)).to_series().to_numpy())


def _image_rules(rows: pl.DataFrame, rules: Rules) -> list[Outcome]:
    unsafe, side, aspect = rules.max_unsafe, rules.min_side, rules.max_aspect
    texts, size = rules.max_texts_per_image, image.SIZE
    many, wide = f"image with > {texts} alt-texts", f"longer / shorter side >= {aspect}"
    return [
        _outcome(rows, "pornographic", f"score > {unsafe}", unsafe, image.pornographic, ["unsafe"]),
        _outcome(rows, "short_side", f"shorter side <= {side} px", side, image.short_side, size),
        _outcome(rows, "aspect_ratio", wide, aspect, image.aspect_ratio, size),
        _outcome(rows, "texts_per_image", many, texts, image.texts_per_image, ["image"]),
    ]


def _text_rules(rows: pl.DataFrame, rules: Rules) -> list[Outcome]:
    images = rules.max_images_per_text
    shared = f"alt-text of > {images} images"
    bounds = (("<", rules.min_words), (">", rules.max_words))
    words = " or ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None)
    length = text.length(rules.min_words, rules.max_words)
    return [
        _outcome(rows, "images_per_text", shared, images, text.images_per_text, ["image"]),
        _rare_words(rows, rules.vocabulary_size),
        _outcome(rows, "length", f"{words} words", words or None, lambda _: length, []),
    ]


def _rare_words(rows: pl.DataFrame, size: int | Literal["auto"] | None) -> Outcome:
    rule, says = "rare_words", "a unigram or bigram that is rare in the raw data"
    if size is None:
        return Outcome(rule, says, None, "turned off")
    words = text.unigrams(rows)
    if size == "auto":
        vocabulary, note = text.auto_vocabulary(words, len(rows))
        if vocabulary is None:
            return Outcome(rule, says, None, note)
        says, tokens = "a unigram that is rare in the raw data", words
    else:
        vocabulary, tokens = (
            text.frequent_tokens(words, size),
            pl.concat([words, text.bigrams(words)]),
        )
        note = f"vocabulary of {len(vocabulary):,} unigrams and bigrams"
    drops = text.holds_other_tokens(tokens, vocabulary, len(rows))
    return Outcome(rule, says, drops.to_numpy(), note)


def _near_duplicates(
    table: pa.Table,
    rows: pl.DataFrame,
    rules: Rules,
    shards: Path | None,
    against: Sequence[str | Path],
    workers: int | None,
    progress: bool,
) -> Outcome:
    """Hash each image once, however many pairs have it."""
    rule, says = "near_duplicate", f"hash within {rules.max_distance} bits of an evaluation image"
    if rules.max_distance is None or not against:
        return Outcome(rule, says, None, "no evaluation set given" if not against else "turned off")
    if shards is None or "key" not in table.column_names:
        raise InputError("near-duplicates can be found only in shards: these pairs have no images")
    source = open_pairs([shards])
    number_of = {key: number for number, key in enumerate(source.keys)}
    numbers = [number_of.get(key, -1) for key in table["key"].to_pylist()]
    known = rows["image"].to_list() if "image" in rows.columns else [None] * len(rows)
    identity = [name or number for name, number in zip(known, numbers, strict=True)]
    first = {name: number for name, number in zip(identity, numbers, strict=True) if number >= 0}
    places = [source.place(number) for number in first.values()]
    found, unreadable = near_duplicates(places, against, rules.max_distance, workers, progress)
    duplicates = {name for name, hit in zip(first, found.tolist(), strict=True) if hit}
    drops = np.array([name in duplicates for name in identity], bool)
    absent = len(numbers) - sum(name in first for name in identity)
    note = f"{absent} pairs without image and {unreadable} unreadable images not checked"
    return Outcome(rule, says, drops, note if absent or unreadable else "")


def _truth(table: pa.Table, kept: np.ndarray, outcomes: list[Outcome]) -> Truth | None:
    if "noise" not in table.column_names:
        return None
    noise = np.array([str(kind) for kind in table["noise"].to_pylist()])
    masks = {outcome.rule: outcome.drops for outcome in outcomes if outcome.drops is not None}
    return judge(noise, kept, masks)


def _write(kept: pa.Table, funnel: Funnel, shards: Path | None, out: Path) -> None:
    metadata = {key: value for key, value in (kept.schema.metadata or {}).items() if key != SOURCE}
    if shards is not None:
        places = {"relative": funnel.source, "absolute": str(shards)}
        metadata[SOURCE] = json.dumps(places).encode()
    # The table gets its name last: where it is, the funnel is too.
    with written_whole(out / KEPT_PAIRS) as beside:
        pa.parquet.write_table(kept.replace_schema_metadata(metadata), beside)
        write_json(out / "funnel.json", funnel.to_dict())
