"""What every pass of one filter run needs to know, and the tables that lie between the passes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from align_edu.filters.rules import RULES, Rule, Rules
from align_edu.io import read_json, write_json, written_whole
from align_edu.pairs.chunks import Chunk


@dataclass(frozen=True)
class Job:
    """One filter run; it travels to each worker, so it holds plain values only.

    Attributes
    ----------
    work : folder of the tables between the passes; all workers must see it.
    chunks : the raw pairs.
    rules : the bounds.
    absent : rule -> why it is not applied.
    pictures : folder of shards, or one tar, with the images; None if they are not needed.
    against : file with the hashes of the evaluation images; None without.
    unsafe_model : folder of an image classifier for images without a score; None without.
    processes : how many hash images at the same time.
    shares : into how many equal ranges the fingerprints are divided where they are added up.
    edge : where the vocabulary ends, once that is known: arguments of `text.rare_words`.
    """

    work: Path
    chunks: tuple[Chunk, ...]
    rules: Rules
    absent: Mapping[str, str]
    pictures: Path | None = None
    against: Path | None = None
    unsafe_model: Path | None = None
    processes: int = 1
    shares: int = 1
    edge: tuple[int, str | None] | None = None

    def table(self, name: str, number: int) -> Path:
        """Where a table of a chunk, or of a share of the fingerprints, is or will be."""
        return self.work / name / f"{number:05d}.parquet"

    def applied(self, of: str) -> list[tuple[Rule, Any]]:
        """The rules on a pair, an image, a text or a token that are applied, with their bounds."""
        rules = [rule for rule in RULES if rule.of == of and rule.name not in self.absent]
        return [(rule, rule.bound(self.rules)) for rule in rules]

    @property
    def with_bigrams(self) -> bool:
        """Whether bigrams are judged too; "auto" judges unigrams only."""
        return self.rules.vocabulary_size != "auto"

    def write(self, table: pl.DataFrame, name: str, number: int) -> None:
        """Write a table between two passes, whole or not at all."""
        with written_whole(self.table(name, number)) as beside:
            table.write_parquet(beside, compression="lz4", row_group_size=200_000)

    def share(self, name: str, key: str, number: int) -> pl.LazyFrame:
        """Scan one share of the tables `name` of all chunks, which are sorted by `key`.

        As they are sorted, little more than the share itself is read.
        """
        edges = [2**64 * i // self.shares for i in (number, number + 1)]
        low, high = pl.lit(edges[0], pl.UInt64), pl.lit(edges[1] - 1, pl.UInt64)
        files = [self.table(name, chunk) for chunk in range(len(self.chunks))]
        return pl.scan_parquet(files).filter(pl.col(key).is_between(low, high))


def done_once(task: Callable[[Job, int], Any], job: Job, number: int) -> Any:
    """Do a task, or read what it returned if an earlier run of the same job did it already.

    A task's tables are whole when its result is there, for the result is written last.
    """
    result = job.work / task.__name__ / f"{number:05d}.json"
    if result.exists():
        return read_json(result)
    value = task(job, number)
    write_json(result, value)
    return value
