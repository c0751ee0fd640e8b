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


def write_parquet(path: Path, *rows: dict[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def test_a_tsv_without_header_gives_captions_and_urls_as_they_are(tmp_path: Path) -> None:
    captions = ["a \"quoted cat , and 'another", "NA", "null", " caf\u00e9 \U0001f600"]
    path = tmp_path / "Train_GCC-training.tsv"
    path.write_text("".join(f"{text}\tx/{i}\n" for i, text in enumerate(captions)), "utf-8")
    table = read_pairs(path)
    assert table.column_names == ["caption", "url"]
    assert table["caption"].to_pylist() == captions
    assert table["url"].to_pylist() == ["x/0", "x/1", "x/2", "x/3"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"only a caption\n", "#1.*two columns"),
        (b"a\tx/1\nb\tx/2\nno url here\n", "#3.*two columns"),
        (b"a cat\tx/1\nb\tx/2\tlabels\tids\t0.9\n", "#2.*two columns"),
        (b"", "Empty"),
        (b"caf\xe9\tx/1\n", "UTF8"),
    ],
)
def test_a_tsv_of_another_form_names_file_and_row(tmp_path: Path, content, message: str) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_pairs(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_folder_gives_the_rows_of_all_parquets_and_of_tars_without_one(tmp_path: Path) -> None:
    row = {"key": "2", "caption": "b", "original_width": 300, "error_message": "404"}
    write_tar(tmp_path / "00001.tar", [("2.jpg", b""), ("2.json", json.dumps(row).encode())])
    write_parquet(tmp_path / "00002.parquet", {"key": "3", "caption": "c"})
    write_parquet(tmp_path / "00000.parquet", {"key": "1", "caption": "a", "error_message": None})
    table = read_pairs(tmp_path)
    assert table["key"].to_pylist() == ["1", "2", "3"]
    assert table["error_message"].to_pylist() == [None, "404", None]
    assert table["original_width"].to_pylist() == [None, 300, None]


def test_a_tar_with_only_texts_gives_keys_and_captions(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [("1.jpg", b""), ("1.txt", b"a red cat")])
    assert read_pairs(path).to_pylist() == [{"key": "1", "caption": "a red cat"}]


def test_a_filter_output_is_read_like_any_table(tmp_path: Path) -> None:
    row = {"caption": "a red cat", "url": "x", "mine": 7}
    filter_pairs(write_parquet(tmp_path / "raw.parquet", row), tmp_path / "kept")
    assert read_pairs(tmp_path / "kept").to_pylist() == [row]


def test_laion_s_column_names_become_ours(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"URL": "x", "TEXT": "a cat", "similarity": 0.3})
    assert read_pairs(path).column_names == ["url", "caption", "similarity"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file or folder"),
        (lambda path: path.mkdir(), "no shard in it"),
        (lambda path: write_parquet(path / "0.parquet", {"key": "1"}), "no texts"),
        (lambda path: write_parquet(path / "0.parquet", {"caption": 5}), "must hold strings"),
        (lambda path: write_tar(path / "0.tar", [("1.jpg", b"")]), "no texts"),
        (lambda path: write_tar(path / "0.tar", [("1.json", b"{")]), "unreadable shard"),
        (lambda path: write_tar(path / "0.tar", [("1.json", b"[1]")]), "unreadable shard"),
        (lambda path: write_tar(path / "0.parquet", []), "not a whole parquet"),
    ],
)
def test_bad_input_is_one_line_that_names_the_file(tmp_path: Path, make, message: str) -> None:
    make(tmp_path / "data")
    with pytest.raises(InputError, match=message) as error:
        read_pairs(tmp_path / "data")
    assert str(tmp_path / "data") in str(error.value) and "\n" not in str(error.value)


@pytest.mark.skipif(not (REAL / "alt_text").exists(), reason="../shared/real is missing")
def test_real_alt_text_is_read_whole() -> None:
    table = read_pairs(REAL / "alt_text" / "web_10000.parquet")
    assert table.num_rows == 10_000 and {"caption", "url"} <= set(table.column_names)
