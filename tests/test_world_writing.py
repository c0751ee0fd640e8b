"""Shards, benchmarks and tasks of the toy world: layout, resuming, and what is refused."""

import hashlib
import io
import json
import resource
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from align_edu.io import InputError, only_writer
from align_edu.world import World

PAIRS, SHARD_SIZE = 130, 30  # four whole shards and one of ten pairs
COLUMNS = [
    "key", "caption", "url", "sha256", "original_width", "original_height", "width", "height",
    "status", "error_message", "exif", "noise", "scene",
]  # fmt: skip
WRITE: dict[str, Callable[..., Path]] = {
    "shards": lambda out, **options: World().write(out, **({"pairs": 10} | options)),
    "benchmark": lambda out, **options: World().write_benchmark(out, **({"scenes": 5} | options)),
    "task": lambda out, **options: World().write_task(out, **({"task": "style"} | options)),
}


def write(out: Path, seed: int = 3, **changes: object) -> Path:
    arguments = {"pairs": PAIRS, "workers": 1, "shard_size": SHARD_SIZE}
    return World(seed=seed).write(out, **(arguments | changes))  # type: ignore[arg-type]


def digests(folder: Path) -> dict[str, str]:
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.iterdir()}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write(tmp_path_factory.mktemp("world") / "raw")


def test_the_layout_is_that_of_img2dataset(world):
    shards = [f"{i:05d}{end}" for i in range(5) for end in (".parquet", ".tar", "_stats.json")]
    assert sorted(f.name for f in world.iterdir()) == sorted([*shards, "world.json"])
    assert json.loads((world / "00004_stats.json").read_text()) == {
        "count": 10, "successes": 10, "failed_to_download": 0, "failed_to_resize": 0,
        "status_dict": {"success": 10},
    }  # fmt: skip


def test_the_tar_has_three_members_a_pair_and_agrees_with_the_table(world):
    table = pq.read_table(world / "00002.parquet")
    assert table.column_names == COLUMNS
    keys = [f"00002{i:04d}" for i in range(SHARD_SIZE)]
    with tarfile.open(world / "00002.tar") as tar:
        assert tar.getnames() == [f"{key}.{end}" for key in keys for end in ("jpg", "txt", "json")]
        assert {(m.isfile(), m.mtime, m.uid, m.gid, m.uname) for m in tar} == {(True, 0, 0, 0, "")}
        for row in table.to_pylist():
            jpeg, text, record = (
                tar.extractfile(f"{row['key']}.{kind}").read()  # type: ignore[union-attr]
                for kind in ("jpg", "txt", "json")
            )
            assert text.decode() == row["caption"] and json.loads(record) == row
            assert hashlib.sha256(jpeg).hexdigest() == row["sha256"]
            image = Image.open(io.BytesIO(jpeg))
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (58, 58))
            assert (row["width"], row["height"], row["status"]) == (58, 58, "success")


def test_the_truth_is_recorded_for_each_pair(world):
    rows = [row for f in world.glob("*.parquet") for row in pq.read_table(f).to_pylist()]
    assert len({row["key"] for row in rows}) == len({row["sha256"] for row in rows}) == PAIRS
    assert len({row["noise"] for row in rows}) > 5
    assert all(json.loads(row["scene"])["kind"] for row in rows)


def test_the_bytes_depend_on_the_seed_and_not_on_the_number_of_workers(world, tmp_path, capsys):
    assert digests(write(tmp_path / "two", workers=2, progress=True)) == digests(world)
    captured = capsys.readouterr()
    assert captured.out == "" and "130/130" in captured.err
    other = write(tmp_path / "other", seed=4, pairs=30)
    mine = pq.read_table(world / "00000.parquet").column("sha256").to_pylist()
    assert not set(mine) & set(pq.read_table(other / "00000.parquet").column("sha256").to_pylist())


def test_a_lost_file_is_made_again_and_whole_shards_are_left_alone(tmp_path):
    out = write(tmp_path / "raw", pairs=60, shard_size=20)
    before, shard = digests(out), {"00001.tar", "00001_stats.json", "00001.parquet"}
    for lost in shard:
        times = {f.name: f.stat().st_mtime_ns for f in out.iterdir()}
        (out / lost).unlink()
        (out / ".00001.tar.123.part").write_bytes(b"half a shard")
        write(out, pairs=60, shard_size=20)
        assert digests(out) == before
        assert {f.name for f in out.iterdir() if f.stat().st_mtime_ns != times[f.name]} == shard


def test_a_killed_writer_goes_on_to_the_same_bytes(world, tmp_path):
    out = tmp_path / "raw"
    code = (
        "import sys; from align_edu.world import World; "
        f"World(3).write(sys.argv[1], {PAIRS}, workers=1, shard_size={SHARD_SIZE})"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(out)])
    deadline = time.monotonic() + 60
    while not list(out.glob(".00002.tar.*.part")) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (out / "00001.parquet").exists() and not (out / "00004.parquet").exists()
    assert digests(write(out)) == digests(world)


@pytest.mark.parametrize("kind", WRITE)
def test_a_second_writer_into_the_same_folder_is_refused(tmp_path, kind):
    out = tmp_path / "raw"
    with only_writer(out), pytest.raises(InputError, match="another process is writing to it"):
        WRITE[kind](out)
    assert not out.exists()


def test_a_folder_of_other_settings_is_refused_and_left_alone(world):
    before = digests(world)
    with pytest.raises(InputError, match=r"other settings \(seed, pairs\)"):
        write(world, seed=9, pairs=60)
    assert digests(world) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": 0}, "pairs 0: give a whole number of at least 1"),
        ({"workers": 0}, "workers 0"),
        ({"shard_size": 10_001}, "shard size 10001: give a whole number from 1 to 10000"),
        ({"seed": 2**32}, "seed 4294967296: give a whole number from 0 to 4294967295"),
        ({"seed": True}, "seed True"),
        *[({"noise": rate}, "give a rate from 0 to 0.95") for rate in (-0.1, 0.96, float("nan"))],
        *[
            ({"image_size": size}, f"image size {size}: give a whole number from 8 to 4096")
            for size in (7, 0, -58, 4097, 58.5, "58", None)
        ],
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_written(tmp_path, options, message):
    every: dict[str, Any] = {"seed": 0, "noise": 0.1, "image_size": 58, "pairs": 10} | options
    world = World(*(every.pop(name) for name in ("seed", "noise", "image_size")))
    with pytest.raises(InputError, match=message):
        world.write(tmp_path / "raw", **every)
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("benchmark", {"scenes": 0}, "scenes 0: give a whole number of at least 1"),
        ("benchmark", {"train": -1}, "train -1"),
        ("benchmark", {"image_size": 4}, "image size 4"),
        ("benchmark", {"twins": -1}, "twins -1: give a whole number from 0 to 4"),
        ("benchmark", {"twins": 5}, "twins 5: give a whole number from 0 to 4"),
        ("task", {"train": 0, "val": 0, "test": 0}, "pictures 0"),
    ],
)
def test_benchmarks_and_tasks_that_make_no_sense_are_refused(tmp_path, kind, options, message):
    with pytest.raises(InputError, match=message):
        WRITE[kind](tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "path", "message"),
    [
        ("shards", "", "another origin"), ("benchmark", "", "something else"),
        ("shards", "00007.tar", "is a file"), ("benchmark", "00007.tar", "is a file"),
    ],
)  # fmt: skip
def test_a_path_that_holds_something_else_is_refused_and_left_alone(tmp_path, kind, path, message):
    (tmp_path / "00007.tar").write_text("mine")
    with pytest.raises(InputError, match=message):
        WRITE[kind](tmp_path / path)
    assert [f.read_text() for f in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(("kind", "left"), [("shards", ["world.json"]), ("benchmark", [])])
def test_a_full_disk_is_an_input_error_and_leaves_only_whole_files(tmp_path, kind, left):
    """The operating system refuses to let files grow over 2,000 bytes, as a full disk would."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limit[1]))
    try:
        with pytest.raises(InputError, match="cannot be written"):
            WRITE[kind](tmp_path / "raw")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [f.name for f in tmp_path.glob("raw/*")] == left
    assert any(WRITE[kind](tmp_path / "raw").iterdir())


def test_a_script_that_workers_cannot_import_ends_with_the_remedy(tmp_path):
    script = (
        "from align_edu.world import World\n"
        "from align_edu.io import InputError\n"
        "try: World(0).write('raw', 40, workers=2, shard_size=20)\n"
        "except InputError as error: print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-"], input=script, cwd=tmp_path, capture_output=True, text=True
    )
    assert "in a script, write worlds below `if __name__ == '__main__':`" in result.stdout
