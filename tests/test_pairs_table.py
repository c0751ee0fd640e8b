"""read_pairs: every form in which a table of pairs comes, and what is refused."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from align_edu.filters import Rules, filter_pairs
from align_edu.io import InputError
from align_edu.model.text_tower import load_wordpiece
from align_edu.pairs import read_pairs
from tests.samples import POINTER, REAL, write_tar


def write_parquet(path: Path, *rows: dict[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def test_a_tsv_without_header_gives_captions_and_urls_as_they_are(tmp_path):
    captions = ["a \"quoted cat , and 'another", "NA", "null", " caf\u00e9 \U0001f600"]
    path = tmp_path / "Train_GCC-training.tsv"
    path.write_text("".join(f"{text}\tx/{i}\n" for i, text in enumerate(captions)), "utf-8")
    urls = ["x/0", "x/1", "x/2", "x/3"]
    assert read_pairs(path).to_pydict() == {"caption": captions, "url": urls}


LINES = [
    '{"alt_text": "a cat", "url": "http://x/1"}',
    '{"alt_text": "b \u2028", "url": "http://x/2"}',
]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cc12m.tsv", "http://x/1\ta cat\nhttp://x/2\tb \u2028\n"),
        ("cc3m.tsv", "a cat\thttp://x/1\nb \u2028\thttp://x/2\n"),
        ("header.tsv", "\ufeffcaption\turl\na cat\thttp://x/1\nb \u2028\thttp://x/2\n"),
        ("a.csv", '\ufeffURL,n,TEXT\nhttp://x/1,1,"a cat"\nhttp://x/2,2,"b \u2028"\n'),
        ("a.jsonl", "\n".join(LINES)),
    ],
)
def test_each_dialect_gives_caption_and_url(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    table = read_pairs(tmp_path / name)
    assert table["caption"].to_pylist() == ["a cat", "b \u2028"]
    assert table["url"].to_pylist() == ["http://x/1", "http://x/2"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["URL", "TEXT", "WIDTH", "NSFW"], ["url", "caption", "original_width", "nsfw"]),  # LAION
        (["id", "text", "height"], ["id", "caption", "original_height"]),  # COYO
        (["uid", "text", "original_width"], ["uid", "caption", "original_width"]),  # DataComp
        (["caption", "width", "original_width"], ["caption", "width", "original_width"]),
        (["\ufeffalt_text", "text", "similarity"], ["\ufeffalt_text", "caption", "similarity"]),
    ],
)
def test_column_names_of_other_sets_are_recognised(tmp_path, names, expected):
    path = write_parquet(tmp_path / "a.parquet", dict.fromkeys(names, "1"))
    assert read_pairs(path).column_names == expected


HALF = pa.array([b"a red \xed\xa0\x80 cat", None])  # half a surrogate pair
COLUMNS = [
    (pa.array(["a cat", None]).cast(pa.string_view()), "a cat"),
    (pa.array(["a cat", None]).dictionary_encode(), "a cat"),
    (pa.array(["a cat", None], pa.large_string()), "a cat"),
    (pa.array([b"caf\xe9", None]), "caf\ufffd"),
    (pa.Array.from_buffers(pa.string(), 2, HALF.buffers()), "a red \ufffd\ufffd\ufffd cat"),
]


@pytest.mark.parametrize(("column", "text"), COLUMNS)
def test_captions_of_every_text_type_are_read_and_filtered(tmp_path, column, text):
    raw = pa.table({"TEXT": column})
    pa.parquet.write_table(raw, tmp_path / "a.parquet")
    assert read_pairs(tmp_path / "a.parquet")["caption"].to_pylist() == [text, None]
    for pairs in (raw, tmp_path / "a.parquet"):
        filter_pairs(pairs, tmp_path / "kept", rules=Rules(min_words=1))
        assert read_pairs(tmp_path / "kept")["caption"].to_pylist() == [text]


def test_a_folder_gives_the_rows_of_all_parquets_and_of_tars_without_one(tmp_path):
    row = {"key": "2", "caption": "b", "original_width": 300, "error_message": "404"}
    members = [("2.jpg", b""), ("2.json", json.dumps(row).encode()), ("2_.txt", b"a red cat")]
    write_tar(tmp_path / "00001.tar", members)
    write_parquet(tmp_path / "00002.parquet", {"key": "3", "caption": "c"})
    write_parquet(tmp_path / "00000.parquet", {"key": "1", "caption": "a", "error_message": None})
    table = read_pairs(tmp_path)
    assert table["key"].to_pylist() == ["1", "2", "2_", "3"]
    assert table["caption"].to_pylist() == ["a", "b", "a red cat", "c"]
    assert table["error_message"].to_pylist() == [None, "404", None, None]
    assert table["original_width"].to_pylist() == [None, 300, None, None]


def write(name: str, content: bytes):
    def make(path: Path) -> None:
        path.mkdir()
        (path / name).write_bytes(content)

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file or folder"),
        (lambda path: path.mkdir(), "no shard in it"),
        (lambda path: write_parquet(path / "0.parquet", {"key": "1"}), "no texts"),
        (lambda path: write_parquet(path / "0.parquet", {"caption": 5}), "must hold strings"),
        (
            lambda path: write_parquet(path / "0.parquet", {"caption": ["a"]}),
            "holds list.* each row",
        ),
        (lambda path: write_tar(path / "0.tar", [("1.jpg", b"")]), "no texts"),
        (lambda path: write_tar(path / "0.tar", [("1.json", b"{")]), "no texts"),
        (lambda path: write_tar(path / "0.tar", [("1.json", b"[1]")]), "no texts"),
        (lambda path: write_tar(path / "0.parquet", []), "not a whole parquet"),
        (write("0.parquet", POINTER), "0.parquet: a Git LFS pointer.*`git lfs pull`"),
    ],
)
def test_bad_input_is_one_line_that_names_the_file(tmp_path, make, message):
    make(tmp_path / "data")
    with pytest.raises(InputError, match=message) as error:
        read_pairs(tmp_path / "data")
    assert str(tmp_path / "data") in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", b"only a caption\n", "#1.*two columns"),
        ("a.tsv", b"a\tx/1\nb\tx/2\nno url here\n", "#3.*two columns"),
        ("a.tsv", b"a cat\tx/1\nb\tx/2\tlabels\tids\t0.9\n", "#2.*two columns"),
        ("a.tsv", b"", "Empty"),
        ("a.tsv", b"caf\xe9\tx/1\n", "UTF8"),
        *[(f"a.{ending}", POINTER, "`git lfs pull`") for ending in ("tsv", "csv", "jsonl")],
    ],
)
def test_a_text_table_of_another_form_names_file_and_row(tmp_path, name, content, message):
    write(name, content)(tmp_path / "data")
    with pytest.raises(InputError, match=message) as error:
        read_pairs(tmp_path / "data" / name)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_a_git_lfs_pointer_in_place_of_a_vocabulary_names_the_remedy(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(POINTER)
    with pytest.raises(InputError, match=r"tokenizer\.json: a Git LFS pointer.*`git lfs pull`"):
        load_wordpiece(tmp_path / "tokenizer.json")


@pytest.mark.skipif(not (REAL / "alt_text").exists(), reason="../shared/real is missing")
def test_real_alt_text_is_read_whole():
    table = read_pairs(REAL / "alt_text" / "web_10000.parquet")
    assert table.num_rows == 10_000 and {"caption", "url"} <= set(table.column_names)
