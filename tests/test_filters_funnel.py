"""filter_pairs as a whole: its outputs, its funnel against labels, and what it refuses."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from align_edu.filters import Funnel, Rules, filter_pairs
from align_edu.io import InputError
from align_edu.pairs import read_pairs
from align_edu.world.alt_text import caption
from align_edu.world.scene import child_rng, sample_scene
from align_edu.world.web_noise import NOISE
from tests.plain_words import words_of

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"


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
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[pa.Table, Funnel, Path]:
    table, out = toy_texts(6000), tmp_path_factory.mktemp("toy")
    return table, filter_pairs(table, out), out


@pytest.mark.parametrize("kind", [k.name for k in NOISE.values() if k.text and k.rules])
def test_noise_that_a_rule_targets_falls_by_those_rules(toy, kind: str) -> None:
    table, _, out = toy
    kept = Counter(read_pairs(out)["noise"].to_pylist())
    raw = Counter(table["noise"].to_pylist())
    assert kept[kind] <= 0.05 * raw[kind]
    rules = json.loads((out / "funnel.json").read_text())["truth"]["by_rule"][kind]
    assert sum(rules[rule] for rule in NOISE[kind].rules) >= 0.95 * raw[kind]


def test_few_clean_pairs_fall_and_noise_that_no_rule_sees_stays(toy) -> None:
    table, _, out = toy
    kept = Counter(read_pairs(out)["noise"].to_pylist())
    raw = Counter(table["noise"].to_pylist())
    assert kept["clean"] >= 0.98 * raw["clean"]
    assert kept["other_caption"] >= 0.95 * raw["other_caption"]


def test_precision_and_recall_agree_with_a_count_by_hand(toy) -> None:
    table, funnel, out = toy
    keys = set(read_pairs(out)["key"].to_pylist())
    rows = table.to_pylist()
    gone = [row for row in rows if row["key"] not in keys]
    noisy_gone = sum(row["noise"] != "clean" for row in gone)
    noisy = sum(row["noise"] != "clean" for row in rows)
    assert funnel.truth.precision == pytest.approx(noisy_gone / len(gone))
    assert funnel.truth.recall == pytest.approx(noisy_gone / noisy)
    assert funnel.truth.clean_dropped == pytest.approx(
        (len(gone) - noisy_gone) / (len(rows) - noisy)
    )
    by_kind = Counter(row["noise"] for row in gone)
    assert funnel.truth.dropped == {kind: by_kind[kind] for kind in funnel.truth.pairs}


def test_each_step_starts_where_the_one_before_ended(toy) -> None:
    table, funnel, _ = toy
    left = table.num_rows
    for step in funnel.steps:
        assert step.pairs_in == left
        assert step.dropped <= step.alone
        assert step.share == step.dropped / left
        assert len(step.examples) == len(set(step.examples)) <= 10
        left -= step.dropped
    assert left == funnel.kept == read_pairs(toy[2]).num_rows


def test_a_pair_that_several_rules_drop_counts_for_each_of_them_alone(tmp_path: Path) -> None:
    rows = {"caption": ["cat"] * 11 + ["a red cat"], "url": [str(i) for i in range(12)]}
    rows |= {"original_width": [100] * 11 + [640], "original_height": [100] * 11 + [480]}
    funnel = filter_pairs(pa.table(rows), tmp_path)
    counts = {step.rule: (step.dropped, step.alone) for step in funnel.steps if step.alone}
    assert counts == {"short_side": (11, 11), "images_per_text": (0, 11), "length": (0, 11)}


def test_the_printed_funnel_tells_every_rule_and_every_kind_of_noise(toy) -> None:
    text = str(toy[1])
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    for step in toy[1].steps:
        line = lines[step.rule]
        assert (f"{step.dropped:,}" if step.applied else f"not applied: {step.note}") in line
    assert set(NOISE) & set(toy[0]["noise"].to_pylist()) <= set(lines)
    assert "clean pairs dropped" in text


def test_the_funnel_of_pairs_without_labels_has_no_truth(tmp_path: Path) -> None:
    table = pa.table({"caption": ["a red cat"], "url": ["x"]})
    funnel = filter_pairs(table, tmp_path)
    assert funnel.truth is None and "precision" not in str(funnel)
    assert json.loads((tmp_path / "funnel.json").read_text())["truth"] is None


def test_kept_rows_keep_their_columns_types_and_order(tmp_path: Path) -> None:
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
    assert kept.schema.equals(table.schema)
    assert kept.equals(table.take([0, 2]))
    assert kept.schema.metadata[b"mine"] == b"7"


def test_the_same_input_gives_the_same_files_however_the_vocabulary_size_is_given(
    tmp_path: Path,
) -> None:
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
        ({"caption": ["a red cat"], "original_width": ["640"]}, "original_width"),
        ({"caption": ["a red cat"], "sha256": [[1]]}, "sha256"),
        ({"caption": ["a red cat"], "nsfw": [[1]]}, "nsfw"),
        ({"caption": pa.array([], pa.string())}, "no pairs"),
    ],
)
def test_a_table_with_missing_or_mistyped_columns_is_refused(
    tmp_path: Path, columns: dict, message: str
) -> None:
    pa.parquet.write_table(pa.table(columns), tmp_path / "raw.parquet")
    for pairs in (pa.table(columns), tmp_path / "raw.parquet"):
        with pytest.raises(InputError, match=message):
            filter_pairs(pairs, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_file_or_the_raw_folder_is_no_place_for_the_output(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    pa.parquet.write_table(pa.table({"caption": ["a red cat"]}), raw / "0.parquet")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        filter_pairs(raw, tmp_path / "file")
    with pytest.raises(InputError, match="another folder"):
        filter_pairs(raw, raw)
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in raw.iterdir()] == ["0.parquet"]


def test_an_older_output_survives_a_write_that_fails(tmp_path: Path, monkeypatch) -> None:
    table = pa.table({"caption": ["a red cat", "cat"]})
    filter_pairs(table, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(before) == ["funnel.json", "pairs.parquet"]

    def full_disk(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pa.parquet, "write_table", full_disk)
    with pytest.raises(InputError, match="No space left"):
        filter_pairs(table, tmp_path, rules=Rules(min_words=None))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_source_is_relative_to_the_output(tmp_path: Path) -> None:
    raw = tmp_path / "a" / "raw"
    raw.mkdir(parents=True)
    pa.parquet.write_table(pa.table({"caption": ["a red cat"]}), raw / "00000.parquet")
    (raw / "00000.tar").write_bytes(b"")
    assert filter_pairs(raw, tmp_path / "b" / "kept").source == "../../a/raw"
    assert json.loads((tmp_path / "b/kept/funnel.json").read_text())["source"] == "../../a/raw"


@pytest.mark.skipif(not (REAL / "alt_text").exists(), reason="../shared/real is missing")
def test_real_alt_text_goes_through_and_loses_what_is_too_short_or_too_long(
    tmp_path: Path,
) -> None:
    raw = REAL / "alt_text" / "web_10000.parquet"
    funnel = filter_pairs(raw, tmp_path)
    dropped = {step.rule: step.dropped for step in funnel.steps if step.applied}
    assert set(dropped) == {"texts_per_image", "images_per_text", "length"}
    lengths = [len(words_of(text)) for text in read_pairs(raw)["caption"].to_pylist()]
    assert funnel.kept == sum(3 <= length <= 20 for length in lengths)
