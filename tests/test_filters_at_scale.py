"""Filters on tables larger than a chunk: the same kept set however the work is divided."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import dask
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from align_edu.cli import main
from align_edu.filters import Rules, filter_pairs
from align_edu.filters import run as filter_run
from align_edu.io import InputError
from align_edu.pairs.table import open_chunks
from tests.test_filters_oracle import oracle_kept

RULES = Rules(max_texts_per_image=20, max_images_per_text=3, vocabulary_size=60)
OPTIONS = "--rule max_texts_per_image=20 --rule max_images_per_text=3 --rule vocabulary_size=60"


def zipf_rows(pairs: int, seed: int = 0) -> list[dict[str, object]]:
    """Pairs whose words, images and sizes repeat as on the web, only more so."""
    rng = np.random.default_rng(seed)
    return [
        {
            "caption": " ".join(f"w{n}" for n in np.minimum(rng.zipf(1.6, rng.integers(1, 8)), 60)),
            "sha256": f"image {min(int(rng.zipf(1.3)), 10_000)}",
            "url": f"u/{number}",
            "original_width": int(rng.integers(150, 900)),
            "original_height": int(rng.integers(150, 900)),
            "number": number,
        }
        for number in range(pairs)
    ]


ROWS = zipf_rows(900)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    for number in range(3):
        part = pa.Table.from_pylist(ROWS[300 * number :][:300])
        pa.parquet.write_table(part, folder / f"{number:05d}.parquet", row_group_size=70)
    return folder


def kept(out: Path) -> list[int]:
    return pa.parquet.read_table(out / "pairs.parquet")["number"].to_pylist()


def same_output(one: Path, other: Path) -> bool:
    files = ["funnel.json", "pairs.parquet"]
    assert sorted(path.name for path in one.iterdir()) == files
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in files)


def small_steps(monkeypatch: pytest.MonkeyPatch, chunk: int, share: int) -> None:
    """Many chunks and many shares of the counts, as a large table has."""
    monkeypatch.setattr(filter_run, "CHUNK_ROWS", chunk)
    monkeypatch.setattr(filter_run, "SHARE_ROWS", share)


def test_chunks_cover_every_row_once_in_order(shards, tmp_path):
    for rows in (1, 69, 70, 71, 299, 300, 10_000):
        found = open_chunks(shards, tmp_path, rows)
        numbers = [n for c in found.chunks for n in c.read(["number"])["number"].to_pylist()]
        assert numbers == list(range(900)) and found.rows == 900
        assert all(0 < chunk.rows <= rows for chunk in found.chunks)


def test_the_kept_set_and_the_funnel_are_the_same_however_the_work_is_divided(
    shards, tmp_path, monkeypatch
):
    whole = filter_pairs(shards, tmp_path / "whole", rules=RULES)
    expected = oracle_kept(ROWS, RULES)
    assert kept(tmp_path / "whole") == expected
    assert whole.kept == len(expected) and 50 < len(expected) < 700
    assert all(step.dropped for step in whole.steps if step.applied)
    for chunk, share in ((37, 90), (100, 30)):
        small_steps(monkeypatch, chunk, share)
        assert filter_pairs(shards, tmp_path / f"{chunk}", rules=RULES) == whole
        assert kept(tmp_path / f"{chunk}") == expected


@pytest.mark.parametrize("where", ["at an address", "started here"])
def test_two_workers_of_a_cluster_keep_the_same_pairs(shards, tmp_path, where):
    from dask.distributed import LocalCluster

    filter_pairs(shards, tmp_path / "local", rules=RULES)
    before, address = dict(os.environ), {}
    command = ["filter", str(shards), str(tmp_path / "far"), "--engine", "cluster"]
    with mock.patch.dict(os.environ), ExitStack() as stack:
        if where == "at an address":
            cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
            machines = stack.enter_context(cluster)
            address = {"DASK_SCHEDULER_ADDRESS": machines.scheduler_address}
        with dask.config.set(dask.config.collect_env(address)):
            assert main([*command, *OPTIONS.split()]) == 0
    assert same_output(tmp_path / "local", tmp_path / "far") and dict(os.environ) == before


def test_a_cluster_that_does_not_answer_is_one_line(shards, tmp_path):
    nobody = {"scheduler-address": "tcp://127.0.0.1:1", "distributed.comm.timeouts.connect": "1s"}
    with dask.config.set(nobody), pytest.raises(InputError, match="no scheduler answers"):
        filter_pairs(shards, tmp_path / "out", engine="cluster")
    with pytest.raises(InputError, match="local or cluster"):
        filter_pairs(shards, tmp_path / "out", engine="moon")  # type: ignore[arg-type]


def interrupt() -> None:
    raise KeyboardInterrupt


def run_until(shards: Path, out: Path, tasks: int, stop: Callable[[], None]) -> None:
    """Filter in small steps; stop instead of beginning one more than so many tasks."""
    once, left = filter_run._once, iter(range(tasks))

    def counted(*arguments: Any) -> Any:
        if next(left, None) is None:
            stop()
        return once(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        small_steps(patch, 100, 100)
        patch.setattr(filter_run, "_once", counted)
        filter_pairs(shards, out, rules=RULES)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.test_filters_at_scale import run_until
kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
run_until(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), kill)
"""


@pytest.mark.parametrize(("tasks", "killed"), [(1, False), (14, True), (45, False)])
def test_a_run_that_was_stopped_resumes_and_ends_the_same(
    shards, tmp_path, monkeypatch, tasks, killed
):
    out, unbroken = tmp_path / "out", tmp_path / "unbroken"
    if killed:
        command = [sys.executable, "-c", KILLED, str(shards), str(out), str(tasks)]
        assert subprocess.run(command).returncode == -signal.SIGKILL
    else:
        with pytest.raises(KeyboardInterrupt):
            run_until(shards, out, tasks, interrupt)
    assert not (out / "pairs.parquet").exists()
    small_steps(monkeypatch, 100, 100)
    done = set((out / ".filtering").glob("*/*.json"))
    assert len(done) == tasks
    written, write = set(), filter_run.write_json
    monkeypatch.setattr(filter_run, "write_json", lambda *a: (written.add(a[0]), write(*a)))
    filter_pairs(shards, out, rules=RULES)
    assert written and not written & done  # no task was done again
    filter_pairs(shards, unbroken, rules=RULES)
    assert same_output(out, unbroken)


def test_unfinished_work_with_other_rules_is_not_resumed(shards, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_until(shards, tmp_path / "out", 9, interrupt)
    other = Rules(max_texts_per_image=20, max_images_per_text=2, vocabulary_size=60)
    filter_pairs(shards, tmp_path / "out", rules=other)
    assert kept(tmp_path / "out") == oracle_kept(ROWS, other)


WAITING = """
import sys, time
from align_edu.filters import run
def wait(*arguments):
    print("filtering", flush=True)
    time.sleep(600)
run._once = wait
run.filter_pairs(*sys.argv[1:])
"""


def test_a_second_filter_into_the_same_folder_is_refused_until_the_first_ends(
    shards, tmp_path, capsys
):
    places = [str(shards), str(tmp_path / "out")]
    first = subprocess.Popen([sys.executable, "-c", WAITING, *places], stdout=subprocess.PIPE)
    try:
        assert first.stdout is not None and first.stdout.readline() == b"filtering\n"
        assert main(["filter", *places, *OPTIONS.split()]) == 2
        message = capsys.readouterr().err
        assert len(message.splitlines()) == 1 and "another process is writing" in message
        assert f"(process {first.pid} on " in message
    finally:
        first.kill()
        first.wait()
    assert main(["filter", *places, *OPTIONS.split()]) == 0
    assert kept(tmp_path / "out") == oracle_kept(ROWS, RULES)
