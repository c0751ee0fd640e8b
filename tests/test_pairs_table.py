"""read_pairs: every form in which a table of pairs comes, and what is refused."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from align_edu.filters import filter_pairs
from align_edu.io import InputError
from align_edu.pairs import read_pairs
from tests.tar_writer import write_tar

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"


def write_parquet(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_a_tsv_without_header_gives_captions_and_urls_as_they_are(tmp_path: Path) -> None:
    lines = [
        "a \"quoted cat , and 'another\tx/1",
        "NA\tx/2",
        "null\tx/3",
        " caf\u00e9 \U0001f600\tx/4",
    ]
    path = tmp_path / "Train_GCC-training.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    table = read_pairs(path)
    assert table.column_names == ["caption", "url"]
    assert table["caption"].to_pylist() == [line.split("\t")[0] for line in lines]
    assert table["url"].to_pylist() == ["x/1", "x/2", "x/3", "x/4"]


@pytest.mark.parametrize(
    ("content", "row"),
    [
        ("only a caption\n", 1),
        ("a\tx/1\nb\tx/2\nno url here\n", 3),
        ("a cat\tx/1\nb\tx/2\tlabels\tids\t0.9\n", 2),
    ],
)
def test_a_tsv_with_other_than_two_columns_tells_file_and_row(
    tmp_path: Path, content: str, row: int
) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        read_pairs(path)
    assert str(path) in str(error.value) and f"#{row}" in str(error.value)
    assert "two columns" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"caf\xe9\tx/1\n"])
def test_an_empty_or_wrongly_encoded_tsv_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_bytes(content)
    with pytest.raises(InputError, match="pairs.tsv"):
        read_pairs(path)


def test_a_folder_of_shards_gives_the_rows_of_all_its_parquets_in_order(tmp_path: Path) -> None:
    write_parquet(
        tmp_path / "00001.parquet", [{"key": "2", "caption": "b", "error_message": "404"}]
    )
    write_parquet(tmp_path / "00000.parquet", [{"key": "1", "caption": "a", "error_message": None}])
    table = read_pairs(tmp_path)
    assert table["key"].to_pylist() == ["1", "2"]
    assert table["error_message"].to_pylist() == [None, "404"]


def test_a_shard_without_parquet_is_read_from_the_json_in_its_tar(tmp_path: Path) -> None:
    write_parquet(tmp_path / "00000.parquet", [{"key": "1", "caption": "a", "original_width": 640}])
    row = {"key": "2", "caption": "b", "original_width": 300, "url": "x/2"}
    write_tar(tmp_path / "00001.tar", [("2.jpg", b""), ("2.json", json.dumps(row).encode())])
    table = read_pairs(tmp_path)
    assert table["caption"].to_pylist() == ["a", "b"]
    assert table["original_width"].to_pylist() == [640, 300]
    assert table["url"].to_pylist() == [None, "x/2"]


def test_a_tar_with_only_texts_gives_keys_and_captions(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [("1.jpg", b""), ("1.txt", b"a red cat")])
    assert read_pairs(path).to_pylist() == [{"key": "1", "caption": "a red cat"}]


def test_a_filter_output_is_read_like_any_table(tmp_path: Path) -> None:
    raw = write_parquet(tmp_path / "raw.parquet", [{"caption": "a red cat", "url": "x", "mine": 7}])
    filter_pairs(raw, tmp_path / "kept")
    assert read_pairs(tmp_path / "kept").to_pylist() == [
        {"caption": "a red cat", "url": "x", "mine": 7}
    ]


def test_laion_s_column_names_become_ours(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [{"URL": "x", "TEXT": "a cat", "similarity": 0.3}])
    assert read_pairs(path).column_names == ["url", "caption", "similarity"]


def test_a_half_written_parquet_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [{"caption": "a red cat"}])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="not a whole parquet"):
        read_pairs(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file or folder"),
        (lambda path: path.mkdir(), "no shard in it"),
        (lambda path: write_parquet(path / "0.parquet", [{"key": "1"}]), "no texts"),
        (lambda path: write_parquet(path / "0.parquet", [{"caption": 5}]), "must hold strings"),
        (lambda path: write_tar(path / "0.tar", [("1.jpg", b"")]), "without texts"),
        (lambda path: write_tar(path / "0.tar", [("1.json", b"{")]), "unreadable shard"),
        (lambda path: write_tar(path / "0.tar", [("1.json", b"[1]")]), "unreadable shard"),
    ],
)
def test_bad_input_is_one_line_that_names_the_file(tmp_path: Path, make, message: str) -> None:
    make(tmp_path / "data")
    with pytest.raises(InputError, match=message) as error:
        read_pairs(tmp_path / "data")
    assert str(tmp_path / "data") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not (REAL / "alt_text").exists(), reason="../shared/real is missing")
def test_real_alt_text_is_read_whole() -> None:
    table = read_pairs(REAL / "alt_text" / "web_10000.parquet")
    assert table.num_rows == 10_000
    assert {"caption", "url"} <= set(table.column_names)
