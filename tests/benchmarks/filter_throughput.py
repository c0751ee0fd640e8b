"""Pairs per second of the filters: ours beside a DuckDB query written by hand, in one run.

Texts of 1 to 24 words in Zipf's proportions, image sizes and addresses; every rule that needs
no picture, with unigrams and bigrams. Both read the same parquet file and write the kept rows.
They run in turn, each in a process of its own, so that the peak of memory is each one's own.
The kept rows are compared. Quote ratios.

    python tests/benchmarks/filter_throughput.py [--pairs 1000000] [--rounds 3]
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from tests.benchmarks.measure import medians_in_turn, options, peak_mebibytes, timed

QUERY = Path(__file__).with_name("filter_query.sql")


def make_pairs(path: Path, pairs: int) -> None:
    """Write raw pairs: a new word comes with every few pairs, however many there are."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 25, pairs)
    ranks = np.minimum(rng.zipf(1.3, int(lengths.sum())), 2**40)
    words = "w" + pl.Series(ranks).cast(pl.String).str.zfill(3)
    texts = pl.DataFrame({"row": np.repeat(np.arange(pairs), lengths), "word": words})
    texts = texts.group_by("row", maintain_order=True).agg(pl.col("word").str.join(" "))
    # Most images have one alt-text or two; ten are everywhere.
    one, shared = rng.integers(10, pairs, pairs), rng.integers(0, 10, pairs)
    image = np.where(rng.random(pairs) < 0.02, shared, one)
    keys = pl.Series(range(pairs)).cast(pl.String)
    columns = {"key": keys, "caption": texts["word"], "url": "http://example.org/" + keys}
    columns["sha256"] = "i" + pl.Series(image).cast(pl.String)
    for side in ("original_width", "original_height"):
        columns[side] = pl.Series(rng.integers(100, 1200, pairs))
    pl.DataFrame(columns).write_parquet(path)


def ours(raw: Path, out: Path, size: int) -> None:
    from align_edu.filters import filter_pairs

    filter_pairs(raw, out, vocabulary_size=size)


def duckdb_query(raw: Path, out: Path, size: int) -> None:
    import duckdb

    out.mkdir()
    query = QUERY.read_text().replace("RAW", str(raw)).replace("OUT", str(out / "pairs.parquet"))
    duckdb.sql(query.replace("SIZE", str(size)))


if __name__ == "__main__":
    args = options(__doc__, pairs=1_000_000, rounds=3, one="", work="")
    runs = {"ours": ours, "duckdb": duckdb_query}
    if args.one:
        raw, out = Path(args.work) / "raw.parquet", Path(args.work) / args.one
        shutil.rmtree(out, ignore_errors=True)
        seconds, _ = timed(lambda: runs[args.one](raw, out, args.pairs))
        print(seconds, peak_mebibytes() / 1024)
        sys.exit()
    with tempfile.TemporaryDirectory() as folder:
        make_pairs(Path(folder) / "raw.parquet", args.pairs)
        found = medians_in_turn([*runs], args.rounds, "--work", folder)
        kept = {name: pl.read_parquet(f"{folder}/{name}/pairs.parquet")["key"] for name in runs}
    for name, (seconds, peak) in found.items():
        print(
            f"{name:7} {seconds:7.1f} s  {args.pairs / seconds:10,.0f} pairs/s"
            f"  peak {peak:.1f} GiB  kept {len(kept[name]):,} of {args.pairs:,}"
        )
    print("the same pairs kept:", kept["ours"].equals(kept["duckdb"]))
    print(f"ours is {found['duckdb'][0] / found['ours'][0]:.2f} x the query's speed")
