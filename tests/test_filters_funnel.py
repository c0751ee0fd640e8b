"""filter_pairs as a whole: its outputs, its funnel against labels, and what it refuses."""

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from align_edu.cli import main
from align_edu.filters import Rules, filter_pairs
from align_edu.io import InputError
from align_edu.pairs import read_pairs
from align_edu.world.alt_text import caption
from align_edu.world.scene import child_rng, sample_scene
from align_edu.world.web_noise import NOISE
from tests.samples import REAL, words_of


def toy_texts(pairs: int) -> pa.Table:
    """Alt-texts of the toy world in its default mix, without drawing its pictures."""
    kinds = [kind for kind in NOISE.values() if kind.text is not None]
    edges = np.cumsum([kind.share for kind in kinds])
    rows = []
    for i in range(pairs):
        rng = child_rng(99, i)
        scene = sample_scene(rng)
        choice = int(np.searchsorted(edges, rng.random()))
        noise = "clean" if choice == len(kinds) else kinds[choice].name
        text = caption(scene, rng) if noise == "clean" else kinds[choice].text(scene, rng)
        rows.append({"key": f"{i:09d}", "caption": text, "sha256": str(i), "noise": noise})
    return pa.Table.from_pylist(rows)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Raw rows, kept rows, and the funnel."""
    table, out = toy_texts(6000), tmp_path_factory.mktemp("toy")
    funnel = filter_pairs(table, out)
    assert json.loads((out / "funnel.json").read_text()) == funnel.to_dict()
    return table.to_pylist(), read_pairs(out).to_pylist(), funnel


def test_noise_that_a_rule_targets_falls_by_those_rules_and_few_clean_pairs_fall(toy):
    raw, kept = (Counter(row["noise"] for row in rows) for rows in toy[:2])
    for kind in (kind for kind in NOISE.values() if kind.text and kind.rules):
        assert kept[kind.name] <= 0.05 * raw[kind.name]
        by_rule = toy[2].truth.by_rule[kind.name]
        assert sum(by_rule[rule] for rule in kind.rules) >= 0.95 * raw[kind.name]
    assert kept["clean"] >= 0.98 * raw["clean"]
    assert kept["other_caption"] >= 0.95 * raw["other_caption"]  # no rule sees it


def test_precision_and_recall_agree_with_a_count_by_hand(toy):
    raw, kept, funnel = toy
    keys = {row["key"] for row in kept}
    gone = Counter(row["noise"] for row in raw if row["key"] not in keys)
    every = Counter(row["noise"] for row in raw)
    noise = gone.total() - gone["clean"]
    assert funnel.truth.precision == pytest.approx(noise / gone.total())
    assert funnel.truth.recall == pytest.approx(noise / (every.total() - every["clean"]))
    assert funnel.truth.clean_dropped == pytest.approx(gone["clean"] / every["clean"])
    assert funnel.truth.dropped == {kind: gone[kind] for kind in every}


def test_each_step_starts_where_the_one_before_ended_and_is_printed(toy):
    raw, kept, funnel = toy
    lines = {line.split("  ")[0]: line for line in str(funnel).splitlines()}
    left = len(raw)
    for step in funnel.steps:
        assert step.pairs_in == left and step.share == step.dropped / left
        assert step.dropped <= step.alone
        assert len(step.examples) == len(set(step.examples)) <= 10
        left -= step.dropped
        shown = f"{step.dropped:,}" if step.applied else f"not applied: {step.note}"
        assert shown in lines[step.rule]
    assert left == funnel.kept == len(kept)
    assert {row["noise"] for row in raw} <= set(lines) and "clean pairs dropped" in str(funnel)


def test_a_pair_that_several_rules_drop_counts_for_each_of_them_alone(tmp_path):
    rows = {"caption": ["cat"] * 11 + ["a red cat"], "url": [str(i) for i in range(12)]}
    rows |= {"original_width": [100] * 11 + [640], "original_height": [100] * 11 + [480]}
    funnel = filter_pairs(pa.table(rows), tmp_path)
    counts = {step.rule: (step.dropped, step.alone) for step in funnel.steps if step.alone}
    assert counts == {"short_side": (11, 11), "images_per_text": (0, 11), "length": (0, 11)}
    assert funnel.truth is None and "precision" not in str(funnel)  # no column of labels


def test_kept_rows_keep_their_columns_types_and_order(tmp_path):
    table = pa.table(
        {
            "url": pa.array(["x/1", "x/2", "x/3"]),
            "tags": pa.array([["a"], None, ["b", "c"]]),
            "caption": pa.array(["a red cat", "cat", "two blue dogs"], pa.large_string()),
            "score": pa.array([0.5, None, 1.0], pa.float32()),
        }
    ).replace_schema_metadata({"mine": "7"})
    pa.parquet.write_table(table, tmp_path / "raw.parquet")
    filter_pairs(tmp_path / "raw.parquet", tmp_path / "kept")
    kept = pa.parquet.read_table(tmp_path / "kept" / "pairs.parquet")
    assert kept.schema.equals(table.schema) and kept.schema.metadata[b"mine"] == b"7"
    assert kept.equals(table.take([0, 2])) and read_pairs(tmp_path / "kept").equals(kept)


def test_parts_with_other_columns_and_types_become_one_table(tmp_path):
    raw, words = tmp_path / "raw", ["a red cat", "a red dog"]
    raw.mkdir()
    one = pa.table({"caption": words, "tag": pa.nulls(2), "n": pa.array([1, 2], pa.int32())})
    two = pa.table({"n": pa.array([3, 4], pa.int64()), "caption": words, "tag": ["x", "y"]})
    pa.parquet.write_table(one, raw / "0.parquet")
    pa.parquet.write_table(two, raw / "1.parquet")
    filter_pairs(raw, tmp_path / "kept")
    table = pa.parquet.read_table(tmp_path / "kept" / "pairs.parquet").to_pydict()
    assert (table["n"], table["tag"]) == ([1, 2, 3, 4], [None, None, "x", "y"])


def test_the_same_input_gives_the_same_files_however_the_vocabulary_size_is_given(tmp_path):
    table = toy_texts(300)
    one = filter_pairs(table, tmp_path / "one", vocabulary_size=500)
    assert one == filter_pairs(table, tmp_path / "two", rules=Rules(vocabulary_size=500))
    for name in ("pairs.parquet", "funnel.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert one.kept < filter_pairs(table, tmp_path / "three").kept


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text_of": ["a red cat"]}, "`caption` is missing"),
        ({"caption": [1]}, "caption"),
        ({"caption": [["a red cat"]]}, "parquet: the column `caption` holds list"),
        ({"caption": ["a red cat"], "original_width": ["640"]}, "original_width"),
        ({"caption": ["a red cat"], "sha256": [[1]]}, "sha256"),
        ({"caption": ["a red cat"], "nsfw": [[1]]}, "nsfw"),
        ({"caption": pa.array([], pa.string())}, "no pairs"),
    ],
)
def test_a_table_with_missing_or_mistyped_columns_is_refused(tmp_path, columns, message):
    pa.parquet.write_table(pa.table(columns), tmp_path / "raw.parquet")
    for pairs in (pa.table(columns), tmp_path / "raw.parquet"):
        with pytest.raises(InputError, match=message):
            filter_pairs(pairs, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_damaged_table_is_one_line_and_status_2(tmp_path, capsys):
    good = pa.table({"caption": ["a red cat"] * 1000, "url": ["x"] * 1000})
    pa.parquet.write_table(good, tmp_path / "good.parquet")
    whole = (tmp_path / "good.parquet").read_bytes()
    (tmp_path / "half.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1" + bytes(300) + whole[304:])
    for name in ("half.parquet", "damaged.parquet", "missing.parquet"):
        assert main(["filter", str(tmp_path / name), str(tmp_path / "out")]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("align-edu: ") and name in line
        assert not (tmp_path / "out" / "pairs.parquet").exists()


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "a" / "raw").mkdir(parents=True)
    pa.parquet.write_table(pa.table({"caption": ["a red cat"]}), tmp_path / "a/raw/00000.parquet")
    return tmp_path / "a" / "raw"


def test_a_file_or_the_raw_folder_is_no_place_for_the_output(tmp_path, raw):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        filter_pairs(raw, tmp_path / "file")
    with pytest.raises(InputError, match="another folder"):
        filter_pairs(raw, raw)
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in raw.iterdir()] == ["00000.parquet"]
    (raw / "00000.tar").write_bytes(b"")
    assert filter_pairs(raw, tmp_path / "b" / "kept").source == "../../a/raw"


def test_an_older_output_survives_a_write_that_fails(tmp_path, monkeypatch):
    table = pa.table({"caption": ["a red cat", "cat"]})
    filter_pairs(table, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full_disk(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pa.parquet, "write_table", full_disk)
    with pytest.raises(InputError, match="No space left"):
        filter_pairs(table, tmp_path, rules=Rules(min_words=None))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.skipif(not (REAL / "alt_text").exists(), reason="../shared/real is missing")
def test_real_alt_text_goes_through_and_loses_what_is_too_short_or_too_long(tmp_path):
    raw = REAL / "alt_text" / "web_10000.parquet"
    funnel = filter_pairs(raw, tmp_path)
    dropped = {step.rule: step.dropped for step in funnel.steps if step.applied}
    assert set(dropped) == {"texts_per_image", "images_per_text", "length"}
    lengths = [len(words_of(text)) for text in read_pairs(raw)["caption"].to_pylist()]
    assert funnel.kept == sum(3 <= length <= 20 for length in lengths)
