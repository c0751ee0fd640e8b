"""Filters on tables larger than a chunk: the same kept set however the work is divided."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from align_edu.cli import main
from align_edu.filters import Rules, engine, filter_pairs
from align_edu.filters import run as filter_run
from align_edu.filters.engine import open_engine
from align_edu.io import InputError
from align_edu.pairs.chunks import open_chunks
from tests.test_filters_oracle import oracle_kept

RULES = Rules(max_texts_per_image=20, max_images_per_text=3, vocabulary_size=60)


def zipf_rows(pairs: int, seed: int = 0) -> list[dict[str, object]]:
    """Pairs whose words, images and sizes repeat as on the web, only more so."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(pairs):
        words = np.minimum(rng.zipf(1.6, rng.integers(1, 8)), 60)
        rows.append(
            {
                "caption": " ".join(f"w{word}" for word in words),
                "sha256": f"image {min(int(rng.zipf(1.3)), 10_000)}",
                "url": f"u/{number}",
                "original_width": int(rng.integers(150, 900)),
                "original_height": int(rng.integers(150, 900)),
                "number": number,
            }
        )
    return rows


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    rows = zipf_rows(900)
    for number, start in enumerate(range(0, 900, 300)):
        part = pa.Table.from_pylist(rows[start : start + 300])
        pa.parquet.write_table(part, folder / f"{number:05d}.parquet", row_group_size=70)
    return folder


def kept(out: Path) -> list[int]:
    return pa.parquet.read_table(out / "pairs.parquet")["number"].to_pylist()


def small_steps(monkeypatch: pytest.MonkeyPatch, chunk: int, share: int) -> None:
    """Many chunks and many shares of the counts, as a large table has."""
    monkeypatch.setattr(filter_run, "CHUNK_ROWS", chunk)
    monkeypatch.setattr(filter_run, "SHARE_ROWS", share)


def test_chunks_cover_every_row_once_in_order(shards: Path, tmp_path: Path) -> None:
    for rows in (1, 69, 70, 71, 299, 300, 10_000):
        found = open_chunks(shards, tmp_path, rows)
        numbers = [n for c in found.chunks for n in c.read(["number"])["number"].to_pylist()]
        assert numbers == list(range(900))
        assert all(0 < chunk.rows <= rows for chunk in found.chunks)


@pytest.mark.parametrize(("chunk", "share"), [(10_000, 10_000), (37, 50), (100, 7)])
def test_the_kept_set_is_the_oracle_s_however_the_work_is_divided(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, share: int
) -> None:
    small_steps(monkeypatch, chunk, share)
    funnel = filter_pairs(shards, tmp_path / "kept", rules=RULES)
    expected = oracle_kept(zipf_rows(900), RULES)
    assert kept(tmp_path / "kept") == expected
    assert funnel.kept == len(expected) and 50 < len(expected) < 700
    assert all(step.dropped for step in funnel.steps if step.applied)
    assert [path.name for path in sorted((tmp_path / "kept").iterdir())] == [
        "funnel.json",
        "pairs.parquet",
    ]


def test_the_funnel_does_not_depend_on_how_the_work_is_divided(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = filter_pairs(shards, tmp_path / "whole", rules=RULES)
    small_steps(monkeypatch, 41, 30)
    assert filter_pairs(shards, tmp_path / "parts", rules=RULES) == whole


def test_two_workers_of_a_cluster_keep_the_same_pairs(shards: Path, tmp_path: Path) -> None:
    from dask.distributed import Client, LocalCluster

    bounds = ["max_texts_per_image=20", "max_images_per_text=3", "vocabulary_size=60"]
    options = [word for bound in bounds for word in ("--rule", bound)]
    local = filter_pairs(shards, tmp_path / "local", rules=RULES)
    with (
        engine._environment_kept(),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as machines,
        Client(machines) as client,
    ):
        address = {"DASK_SCHEDULER_ADDRESS": machines.scheduler_address}
        command = [
            sys.executable,
            "-c",
            "import sys; from align_edu.cli import main; sys.exit(main())",
        ]
        subprocess.run(
            [
                *command,
                "filter",
                str(shards),
                str(tmp_path / "far"),
                "--engine",
                "cluster",
                *options,
            ],
            env=os.environ | address,
            check=True,
        )
        worked = client.run(lambda: "align_edu.filters.judge" in sys.modules)
    assert list(worked.values()) == [True, True]
    assert json.loads((tmp_path / "far" / "funnel.json").read_text()) == local.to_dict()
    one, other = (tmp_path / name / "pairs.parquet" for name in ("local", "far"))
    assert one.read_bytes() == other.read_bytes()


def test_a_cluster_starts_on_this_machine_where_no_address_is_given(
    shards: Path, tmp_path: Path
) -> None:
    before = dict(os.environ)
    far = filter_pairs(shards, tmp_path / "far", rules=RULES, engine="cluster")
    assert far == filter_pairs(shards, tmp_path / "local", rules=RULES)
    assert dict(os.environ) == before


def test_a_cluster_that_does_not_answer_is_told_in_one_line() -> None:
    import dask

    nobody = {"scheduler-address": "tcp://127.0.0.1:1", "distributed.comm.timeouts.connect": "1s"}
    with (
        dask.config.set(nobody),
        pytest.raises(InputError, match="no scheduler answers"),
        open_engine("cluster", progress=False),
    ):
        pass
    with pytest.raises(InputError, match="local or cluster"), open_engine("moon", False):  # type: ignore[arg-type]
        pass


SLOW = """
import os, signal, sys
from align_edu.filters import engine, run
from align_edu.filters.rules import Rules
run.CHUNK_ROWS, run.SHARE_ROWS = 100, 100
left = int(sys.argv[3])
once = engine.done_once
def counted(task, job, number):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return once(task, job, number)
engine.done_once = counted
run.filter_pairs(sys.argv[1], sys.argv[2], rules=Rules(
    max_texts_per_image=20, max_images_per_text=3, vocabulary_size=60))
"""


@pytest.mark.parametrize("tasks", [1, 9, 14, 40, 50])
def test_a_run_that_was_killed_goes_on_and_ends_the_same(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tasks: int
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", SLOW, str(shards), str(out), str(tasks)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not (out / "pairs.parquet").exists()
    small_steps(monkeypatch, 100, 100)
    done = {path: path.stat().st_mtime_ns for path in (out / ".filtering").glob("*/*.json")}
    assert len(done) == tasks
    seen: list[Path] = []
    remember = filter_run.shutil.rmtree
    monkeypatch.setattr(
        filter_run.shutil,
        "rmtree",
        lambda path, **options: (
            seen.extend(p for p, t in done.items() if p.exists() and p.stat().st_mtime_ns == t),
            remember(path, **options),
        ),
    )
    funnel = filter_pairs(shards, out, rules=RULES)
    assert len(seen) == tasks  # nothing of it was done again
    assert funnel == filter_pairs(shards, tmp_path / "unbroken", rules=RULES)
    one, other = out / "pairs.parquet", tmp_path / "unbroken" / "pairs.parquet"
    assert one.read_bytes() == other.read_bytes()


def test_unfinished_work_with_other_rules_or_other_pairs_is_not_taken_up(
    shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", SLOW, str(shards), str(out), "9"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    other = Rules(max_texts_per_image=20, max_images_per_text=2, vocabulary_size=60)
    filter_pairs(shards, out, rules=other)
    assert kept(out) == oracle_kept(zipf_rows(900), other)


def test_parts_with_other_columns_and_types_become_one_table(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    words = ["a red cat", "a red dog"]
    pa.parquet.write_table(
        pa.table({"caption": words, "tag": pa.nulls(2), "n": pa.array([1, 2], pa.int32())}),
        raw / "0.parquet",
    )
    pa.parquet.write_table(
        pa.table({"n": pa.array([3, 4], pa.int64()), "caption": words, "tag": ["x", "y"]}),
        raw / "1.parquet",
    )
    filter_pairs(raw, tmp_path / "kept")
    table = pa.parquet.read_table(tmp_path / "kept" / "pairs.parquet")
    assert table["n"].to_pylist() == [1, 2, 3, 4]
    assert table["tag"].to_pylist() == [None, None, "x", "y"]


def bad_tables(folder: Path) -> dict[str, Path]:
    folder.mkdir()
    good = pa.table({"caption": ["a red cat"] * 1000, "url": ["x"] * 1000})
    pa.parquet.write_table(good, folder / "good.parquet")
    whole = (folder / "good.parquet").read_bytes()
    (folder / "half.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "damaged.parquet").write_bytes(b"PAR1" + bytes(300) + whole[304:])
    pa.parquet.write_table(pa.table({"url": ["x"]}), folder / "column.parquet")
    pa.parquet.write_table(pa.table({"caption": [1]}), folder / "type.parquet")
    sized = pa.table({"caption": ["x"], "original_width": ["9"], "original_height": [9]})
    pa.parquet.write_table(sized, folder / "size.parquet")
    (folder / "one_column.tsv").write_text("a red cat\n")
    return {path.stem: path for path in folder.iterdir() if path.stem != "good"}


@pytest.mark.parametrize(
    "name", ["half", "damaged", "column", "type", "size", "one_column", "missing"]
)
def test_a_bad_table_is_one_line_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = (bad_tables(tmp_path / "raw") | {"missing": tmp_path / "no.parquet"})[name]
    assert main(["filter", str(path), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith("align-edu: ")
    assert not (tmp_path / "out" / "pairs.parquet").exists()


def test_each_bound_can_be_set_or_turned_off_from_the_command_line(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bounds = ["max_texts_per_image=20", "max_images_per_text=3", "vocabulary_size=60"]
    options = [word for bound in bounds for word in ("--rule", bound)]
    assert main(["filter", str(shards), str(tmp_path / "a"), *options, "--json"]) == 0
    assert kept(tmp_path / "a") == oracle_kept(zipf_rows(900), RULES)
    answer = json.loads(capsys.readouterr().out)
    assert answer["kept"] == len(kept(tmp_path / "a"))
    off = ["--rule", "min_side=none", "--rule", "max_aspect=none"]
    assert main(["filter", str(shards), str(tmp_path / "b"), *off]) == 0
    steps = json.loads((tmp_path / "b" / "funnel.json").read_text())["steps"]
    assert [s["rule"] for s in steps if s["note"] == "turned off"] == ["short_side", "aspect_ratio"]
    for bad in ("min_side", "colour=3", "min_side=big", "min_side=-1"):
        assert main(["filter", str(shards), str(tmp_path / "c"), "--rule", bad]) == 2


def test_counts_are_added_up_over_all_chunks_not_in_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch, 4, 5)
    rows = [{"caption": "one two three", "url": f"u/{i}", "number": i} for i in range(11)]
    rows += [{"caption": "four five six", "url": f"v/{i}", "number": 11 + i} for i in range(10)]
    filter_pairs(pa.Table.from_pylist(rows), tmp_path)
    assert kept(tmp_path) == list(range(11, 21))
