"""Pairs from tables, shards and benchmarks, and pictures: what is skipped, what is refused."""

import csv
import json
import tarfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image, PngImagePlugin

from align_edu import ImageIndex
from align_edu.cli import main
from align_edu.evaluation.embed import embed_source
from align_edu.filters import Rules, filter_pairs
from align_edu.filters.image import evaluation_images
from align_edu.pairs import decode_image, open_pairs, read_pairs, read_split
from align_edu.pairs.files import tar_members
from align_edu.pairs.images import BrokenImage, find_images
from align_edu.pairs.shards import write_shards
from align_edu.training import load_run
from tests import samples
from tests.samples import MODEL, POINTER, cases, entry, pair, picture, refused, write_tar

JPEG = samples.image_file()
JSONL = """\
{"alt_text": "NA", "url": "http://x/1"}
{"alt_text": "b \u2028", "url": "http://x/2"}"""
HALF = pa.array([b"a red \xed\xa0\x80 cat", None])  # half a surrogate pair
COLUMNS = [
    (pa.array(["a cat", None]).cast(pa.string_view()), "a cat"),
    (pa.array(["a cat", None]).dictionary_encode(), "a cat"),
    (pa.array(["a cat", None], pa.large_string()), "a cat"),
    (pa.array([b"caf\xe9", None]), "caf\ufffd"),
    (pa.Array.from_buffers(pa.string(), 2, HALF.buffers()), "a red \ufffd\ufffd\ufffd cat"),
]
OFF = Rules(**{field.name: None for field in fields(Rules)})
LOST = "end of a shard lost, with unknown pairs: "
READ, OPEN = read_pairs, lambda path: open_pairs([path])
FILE = lambda path: read_pairs(next(path.iterdir()))  # noqa: E731


def parquet(path: Path, *rows: dict[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


@cases(
    "name, content",
    ("cc12m.tsv", "http://x/1\tNA\nhttp://x/2\tb \u2028\n"),
    ("cc3m.tsv", "NA\thttp://x/1\nb \u2028\thttp://x/2\n"),
    ("header.tsv", "\ufeffcaption\turl\nNA\thttp://x/1\nb \u2028\thttp://x/2\n"),
    ("a.csv", '\ufeffURL,n,TEXT\nhttp://x/1,1,"NA"\nhttp://x/2,2,"b \u2028"\n'),
    ("A.CSV", "TEXT,URL\nNA,http://x/1\nb \u2028,http://x/2\n"),
    ("a.jsonl", JSONL),
)
def test_each_dialect_gives_captions_and_urls_as_they_are(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    table = read_pairs(tmp_path / name)
    assert table["caption"].to_pylist() == ["NA", "b \u2028"]
    assert table["url"].to_pylist() == ["http://x/1", "http://x/2"]


@cases(
    "names, expected",
    (["URL", "TEXT", "WIDTH", "NSFW"], ["url", "caption", "original_width", "nsfw"]),  # LAION
    (["id", "text", "height"], ["id", "caption", "original_height"]),  # COYO
    (["caption", "width", "original_width"], ["caption", "width", "original_width"]),
    (["\ufeffalt_text", "text", "similarity"], ["\ufeffalt_text", "caption", "similarity"]),
)
def test_column_names_of_other_sets_are_recognised(tmp_path, names, expected):
    path = parquet(tmp_path / "a.parquet", dict.fromkeys(names, "1"))
    assert read_pairs(path).column_names == expected


def test_a_header_needs_no_column_but_the_captions(tmp_path):
    (tmp_path / "captions.csv").write_text("image,caption\n1.jpg,a cat\n")
    table = read_pairs(tmp_path / "captions.csv")
    assert table.to_pylist() == [{"image": "1.jpg", "caption": "a cat"}]


def test_numbers_of_a_csv_are_judged_as_numbers(tmp_path):
    rows = ["400,300,0.1,success", "400,300,0.99,success", "90,300,0.1,success", "x,3,,success"]
    rows = [f"a cat number {i},http://x/{i},{row}\n" for i, row in enumerate([*rows, "9,9,0,404"])]
    head = "TEXT,URL,WIDTH,HEIGHT,PUNSAFE,STATUS\n"
    (tmp_path / "laion.csv").write_text(head + "".join(rows))
    rules = replace(Rules(), vocabulary_size=None)
    funnel = filter_pairs(tmp_path / "laion.csv", tmp_path / "out", rules=rules)
    dropped = {step.rule: step.dropped for step in funnel.steps if step.dropped}
    assert dropped == dict.fromkeys(("failed_download", "pornographic", "short_side", "no_size"), 1)


def test_a_number_that_is_text_in_one_row_of_a_tar_is_read(tmp_path):
    rows = [{"caption": "a cat", "width": 640}, {"caption": "a dog", "width": "640"}]
    members = [(f"{i}.json", json.dumps(row).encode()) for i, row in enumerate(rows)]
    table = read_pairs(write_tar(tmp_path / "0.tar", members))
    assert table["original_width"].to_pylist() == ["640", "640"]


def test_pictures_of_a_tar_that_have_no_key_or_another_format_are_counted(tmp_path):
    odd = [("IMG.1.jpg", JPEG), ("IMG.1.txt", b"a dog"), ("2.heic", b"")]
    source = open_pairs([write_tar(tmp_path / "0.tar", [*pair("0"), *odd])])
    assert source.skipped["picture of another format, or with two dots in its name"] == 2


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
    parquet(tmp_path / "00002.parquet", {"key": "3", "caption": "c"})
    parquet(tmp_path / "00000.parquet", {"key": "1", "caption": "a", "error_message": None})
    table = read_pairs(tmp_path)
    assert table["key"].to_pylist() == ["1", "2", "2_", "3"]
    assert table["caption"].to_pylist() == ["a", "b", "a red cat", "c"]
    assert table["error_message"].to_pylist() == [None, "404", None, None]
    assert table["original_width"].to_pylist() == [None, 300, None, None]


def write(name: str, content: bytes):
    return lambda path: samples.write_files(path, {name: content})


def from_tsv(path: Path) -> None:
    filter_pairs(pa.table({"caption": ["a red cat"], "url": ["http://x/1"]}), path)


@cases(
    "read, make, message",
    (READ, lambda path: None, "no such file or folder"),
    (READ, lambda path: path.mkdir(), "no shard in it"),
    (READ, lambda path: parquet(path / "0.parquet", {"key": "1"}), "no texts"),
    (READ, lambda path: parquet(path / "0.parquet", {"caption": ["a"]}), "holds list.* each"),
    (READ, lambda path: write_tar(path / "0.tar", [("1.jpg", b"")]), "no texts"),
    (READ, lambda path: write_tar(path / "0.tar", [("1.json", b"[1]")]), "no texts"),
    (READ, lambda path: write_tar(path / "0.parquet", []), "not a whole parquet"),
    (READ, write("0.parquet", POINTER), "0.parquet: a Git LFS pointer.*`git lfs pull`"),
    (FILE, write("a.tsv", b"a\tx/1\nb\tx/2\nno url here\n"), "#3.*two columns"),
    (FILE, write("a.tsv", b"a cat\tx/1\nb\tx/2\tlabels\tids\t0.9\n"), "#2.*two columns"),
    (FILE, write("a.tsv", b""), "Empty"),
    (FILE, write("a.tsv.gz", b""), "is compressed; unpack it first"),
    (FILE, write("a.tsv", b"caf\xe9\tx/1\n"), "UTF8"),
    *((FILE, write(f"a.{end}", POINTER), "`git lfs pull`") for end in ("tsv", "csv", "jsonl")),
    (OPEN, lambda path: None, "no such folder"),
    (OPEN, lambda path: path.write_text("not a tar"), "no .tar shard"),
    (OPEN, lambda path: write_tar(path / "0.tar", []), "they are empty"),
    (OPEN, lambda path: write_tar(path / "0.tar", [("1.jpg", JPEG)]), "no texts"),
    (OPEN, lambda path: write_tar(path / "0.tar", [("1.txt", b"a cat")]), "1 x missing image"),
    (OPEN, from_tsv, "without shards"),
    (OPEN, write("0.tar", POINTER), "`git lfs pull`"),
)
def test_bad_input_is_one_line_that_names_the_file(tmp_path, read, make, message):
    make(tmp_path / "data")
    assert str(tmp_path / "data") in refused(message, read, tmp_path / "data")


def test_a_git_lfs_pointer_in_a_run_names_the_file_and_the_remedy(tmp_path):
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_bytes((MODEL / name).read_bytes())
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        (tmp_path / name).write_bytes(POINTER)
        refused(rf"{name}: a Git LFS pointer.*`git lfs pull`", load_run, tmp_path)


def write_table(path: Path, *captions: str) -> None:
    parquet(path, *({"key": str(i), "caption": text} for i, text in enumerate(captions)))


def test_each_pair_gives_back_its_own_text_and_image_to_threads_and_processes(tmp_path):
    keys = ["00", "01", "02", "10", "11", "12"]
    images = [samples.image_file((i, 0, 0)) for i in range(6)]
    pairs = [pair(key, f"text {key}", image) for key, image in zip(keys, images)]
    write_tar(tmp_path / "00000.tar", sum(pairs[:3], []))
    write_tar(tmp_path / "00001.tar", sum(pairs[3:], []))
    source = open_pairs([tmp_path])
    assert source.keys == keys and source.captions == [f"text {key}" for key in keys]
    assert source.names[4] == "11.jpg" and source.place(4)[0].name == "00001.tar"
    assert source.skipped == Counter()
    for pool in (ThreadPoolExecutor(4), ProcessPoolExecutor(1)):
        with pool:
            assert list(pool.map(source.image_bytes, range(6))) == images


def test_broken_members_are_counted_by_reason_and_the_rest_is_kept(tmp_path):
    members = [
        *pair("1"), ("2.jpg", JPEG), ("3.txt", b"no image"), *pair("4", "  \n"),
        ("5.jpg", JPEG), ("5.txt", b"caf\xe9"), *pair("../6"), *pair("/abs/7"), *pair("8"),
        ("8.txt", b"again"), ("9.jpg", JPEG), ("9.json", b"{"),
        *[(f"{i}.{ending}", JPEG) for i, ending in enumerate(("PNG", "gif", "jfif", "webp"), 10)],
        *[(f"{key}.txt", b"a dog") for key in range(10, 14)],
    ]  # fmt: skip
    source = open_pairs([write_tar(tmp_path / "a.tar", members)])
    assert source.keys == ["1", "5", "8", "10", "11", "12", "13"]
    assert source.captions == ["a red cat", "caf\ufffd", "a red cat"] + ["a dog"] * 4
    once = ("missing text", "missing image", "empty text", "repeated key", "unreadable JSON")
    assert source.skipped == dict.fromkeys(once, 1) | {"unsafe name": 4}
    assert not (tmp_path.parent / "6.jpg").exists()


def test_damaged_shards_are_counted_and_pairs_before_the_damage_are_kept(tmp_path):
    whole = write_tar(tmp_path / "a.tar", pair("1") + pair("2") + pair("3"))
    offsets = {name: offset for name, offset, _ in tar_members(whole)}
    whole.write_bytes(whole.read_bytes()[: offsets["3.jpg"] + 100])
    (tmp_path / "b.tar").write_bytes(b"")
    (tmp_path / "c.tar").write_bytes(b"no tar at all " * 100)
    (tmp_path / "d.tar").write_bytes(POINTER)
    source = open_pairs([tmp_path])
    assert source.keys == ["1", "2"] and set(source.skipped.values()) == {1}
    assert list(source.skipped) == [
        f"{LOST}a.tar (unexpected end of data)",
        f"{LOST}b.tar (empty file)",
        f"{LOST}c.tar (invalid header)",
        f"{LOST}d.tar (a Git LFS pointer, not the file itself; run `git lfs pull` in its"
        " repository)",
    ]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_found_where_tarfile_finds_them(tmp_path, form):
    keys = ["1", "folder/" + "x" * 90, "2", "caf\u00e9" * 10, "a\u0085b", "c\u2028d"]
    path = write_tar(tmp_path / "a.tar", [member for key in keys for member in pair(key)], form)
    with tarfile.open(path, "a", format=form) as tar:
        link, folder, timed = map(tarfile.TarInfo, ("1.jpg", "2.jpg", "3.txt"))
        link.type, link.linkname, folder.type = tarfile.SYMTYPE, "/etc/passwd", tarfile.DIRTYPE
        timed.mtime = 0.5  # webdataset's form: a pax header before each member
        for member in (link, folder, timed):
            tar.addfile(member)
    with tarfile.open(path) as tar:
        expected = [(m.name, m.offset_data, m.size) for m in tar if m.isreg()]
    assert list(tar_members(path)) == expected
    assert open_pairs([path]).keys == keys == read_pairs(path)["key"].to_pylist()[:6]


def test_joined_tars_are_read_to_the_end_and_damage_inside_is_reported(tmp_path):
    one = write_tar(tmp_path / "1.tar", pair("1", "a cat")).read_bytes()
    two = write_tar(tmp_path / "2.tar", pair("2", "a dog")).read_bytes()
    (tmp_path / "1.tar").write_bytes(one + two)
    assert open_pairs([tmp_path / "1.tar"]).keys == ["1", "2"]
    (tmp_path / "1.tar").write_bytes(one[:600].replace(b"ustar", b"xxxxx") + one[600:])
    refused("1.tar", open_pairs, [tmp_path / "1.tar"])


@pytest.mark.parametrize("beside", ["stats", "parquet", "nothing"])
@pytest.mark.parametrize("end", ["between members", "in a member", "properly"])
def test_a_shard_that_ends_early_is_named_with_the_pairs_it_lacks(tmp_path, beside, end):
    texts, raw = ["a red cat", "two dogs", "rain in spring"], tmp_path / "raw"
    path = write_tar(raw / "7.tar", [m for i in range(3) for m in pair(str(i), texts[i])])
    offsets = {name: offset for name, offset, _ in tar_members(path)}
    whole = path.read_bytes()
    path.write_bytes(whole[: offsets["2.jpg"] + (100 if end == "in a member" else -512)])
    if end == "properly":
        path.write_bytes(path.read_bytes() + bytes(10_240))
    if beside == "stats":
        (raw / "7_stats.json").write_text('{"count": 4, "successes": 3}')
    if beside == "parquet":
        write_table(raw / "7.parquet", *texts)
    source = open_pairs([raw])
    assert source.captions == texts[:2]
    expected = "missing in 7.tar, which holds 2 of its 3"
    if beside == "nothing":
        expected = f"{LOST}7.tar (unexpected end of data)"
    lost = {} if (beside, end) == ("nothing", "properly") else {expected: 1}
    assert source.skipped == lost
    funnel = filter_pairs(raw, tmp_path / "kept")
    assert funnel.to_dict()["warnings"] == [f"{count} {reason}" for reason, count in lost.items()]
    assert all(line in str(funnel).split("\n") for line in funnel.warnings)


def test_a_shard_of_which_only_the_table_is_left_is_named(tmp_path):
    write_table(tmp_path / "raw" / "1.parquet", "two dogs", "rain")
    missing = "missing in 1.tar, which holds 0 of its 2"
    refused(f"no image-text pair in its shards .2 x {missing}.$", open_pairs, [tmp_path / "raw"])
    write_tar(tmp_path / "raw" / "0.tar", pair("1"))
    assert open_pairs([tmp_path / "raw"]).skipped == {missing: 2}


def test_equal_keys_in_folders_and_shards_are_different_pairs(tmp_path):
    raw = tmp_path / "raw"
    (a, b), dropped = [(f"train/{i}", f"val/{i}") for i in "00"], "1920x1080"
    write_tar(raw / "a.tar", pair(a[0], "a red cat", picture(1)) + pair(a[1], dropped))
    write_tar(raw / "b.tar", pair(b[0], dropped) + pair(b[1], "a blue dog", picture(4)))
    table = read_pairs(raw)
    assert table["key"].to_pylist() == [*a, *b] == open_pairs([raw]).keys
    assert table["shard"].to_pylist() == ["a", "a", "b", "b"]
    filter_pairs(raw, tmp_path / "kept")
    kept = open_pairs([tmp_path / "kept"])
    assert kept.captions == ["a red cat", "a blue dog"] and kept.skipped == Counter()
    assert [kept.image_bytes(i) for i in (0, 1)] == [picture(1), picture(4)]


def test_the_text_is_txt_before_json_for_filter_and_training_alike(tmp_path):
    members = [("3.jpg", picture(3)), ("3.json", b'{"url": "x"}')]
    members += [("1.json", b'{"caption": "from json"}'), *pair("1", "from txt")]
    members += [("4.json", b'{"caption": "a dog "}'), *pair("4", " a dog")]
    members += [("2.jpg", picture(2)), ("2.json", b'{"TEXT": "a \\ud83d cat"}')]
    path = write_tar(tmp_path / "a.tar", members)
    source = open_pairs([path])
    assert source.captions == ["from txt", "a dog", "a \ufffd cat"]
    different = "caption in KEY.json that differs from KEY.txt, which is used"
    assert source.skipped == {"missing text": 1, different: 1}
    assert read_pairs(path)["caption"].to_pylist() == [None, "from txt", " a dog", "a \ufffd cat"]
    funnel = filter_pairs(path, tmp_path / "kept", rules=OFF)
    assert funnel.warnings == [f"1 {different}"] and f"1 {different}" in str(funnel)
    assert open_pairs([tmp_path / "kept"]).captions == source.captions


@pytest.fixture
def kept(tmp_path):
    """The output of a filter, which drops pair 1, beside the shard of its raw pairs."""
    texts = ("a red cat on a beach", "1920x1080", "two blue dogs in snow")
    write_tar(tmp_path / "in/raw/00000.tar", [m for i in range(3) for m in pair(str(i), "the tar")])
    write_table(tmp_path / "in/raw/00000.parquet", *texts)
    filter_pairs(tmp_path / "in" / "raw", tmp_path / "in" / "kept")
    return tmp_path / "in" / "kept"


def test_a_filter_output_opens_the_kept_pairs_of_its_shards_with_the_judged_texts(kept):
    for path in (kept, kept / "pairs.parquet"):
        source = open_pairs([path])
        assert source.captions == ["a red cat on a beach", "two blue dogs in snow"]
        assert source.skipped == Counter()
    moved = kept.parent.rename(kept.parents[1] / "new")
    assert open_pairs([moved / "kept"]).keys == ["0", "2"]
    (moved / "raw" / "00000.parquet").unlink()
    write_tar(moved / "raw" / "00000.tar", pair("0"))
    source = open_pairs([moved / "kept"])
    assert source.keys == ["0"] and source.skipped == {"kept pair not in the shards": 1}
    (moved / "raw").rename(kept.parents[1] / "elsewhere")
    refused("shards are gone", open_pairs, [moved / "kept"])


def test_an_index_takes_pictures_beside_tars_and_tars_without_texts(tmp_path, capsys):
    folder = tmp_path / "in"
    write_tar(folder / "a.tar", [("1.jpg", picture(1)), *pair("2", "a cat")])
    (folder / "photo.jpg").write_bytes(picture(3))
    (folder / "old.heic").touch()
    command = ["index", str(MODEL), str(folder), str(tmp_path / "index")]
    assert main(command) == 0 and "left out 1: .heic (convert" in capsys.readouterr().out
    index, root = ImageIndex.load(tmp_path / "index"), folder / "a.tar"
    assert set(index.files) == {root / "1.jpg", root / "2.jpg", folder / "photo.jpg"}
    assert index.left_out == {".heic (convert to .jpg)": 1}
    (vectors,) = (tmp_path / "index").glob("vectors*.faiss")
    vectors.write_bytes(POINTER)
    words = f"{vectors.name}: a Git LFS pointer.*`git lfs pull`"
    refused(words, ImageIndex.load, tmp_path / "index")
    write_tar(folder / "a.tar", [("notes.md", b"no pictures")])
    found = embed_source(load_run(MODEL), folder)
    assert [file.name for file in found.files] == ["photo.jpg"]


@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl"])
def test_a_folder_with_captions_becomes_shards_and_skips_are_counted(tmp_path, ending, answer):
    rows = [[f"{i}.jpg", f" a cat, number {i}"] for i in range(20)]
    folder, listed, out = tmp_path / "photos", tmp_path / f"captions.{ending}", tmp_path / "out"
    folder.mkdir()
    for i, name in enumerate([*(name for name, _ in rows), "alone.jpg"]):
        (folder / name).write_bytes(samples.image_file(size=(9 + i, 9)))
    (folder / "note.heic").touch()
    (folder / "broken.jpg").write_bytes(b"no picture")
    table = [*rows, ["gone.jpg", "a cat"], ["broken.jpg", "a dog"], [rows[0][0], " "]]
    with listed.open("w", encoding="utf-8", newline="") as file:
        if ending == "jsonl":
            file.writelines(json.dumps({"file_name": n, "text": t}) + "\n" for n, t in table)
        else:
            form = {"delimiter": "\t"} if ending == "tsv" else {}
            csv.writer(file, lineterminator="\n", **form).writerows(table)
    made = answer("pairs", folder, listed, out)
    reasons = ["caption of a missing file", "broken picture (not an image)", "empty caption"]
    reasons += ["picture without a caption", ".heic (convert to .jpg)"]
    assert made["pairs"] == 20 and made["skipped"] == dict.fromkeys(reasons, 1)
    source = open_pairs([out])
    assert source.captions == [text.strip() for _, text in rows] and source.skipped == Counter()
    assert source.image_bytes(3) == (folder / rows[3][0]).read_bytes()
    row = read_pairs(out).to_pylist()[3]
    assert (row["original_width"], row["original_height"]) == (12, 9)
    assert row["key"] == "000000003" and row["shard"] == "00000"
    assert main(["pairs", str(folder), str(listed), str(out)]) == 2


def test_a_picture_is_read_by_its_content_whatever_its_ending(tmp_path, answer):
    samples.write_files(tmp_path / "photos", {"1.jpg-large": JPEG, "2": JPEG})
    (tmp_path / "captions.csv").write_text("file,caption\n1.jpg-large,a cat\n2,a dog\na\0,x\n")
    made = answer("pairs", tmp_path / "photos", tmp_path / "captions.csv", tmp_path / "o")
    assert made["pairs"] == 2
    assert len(open_pairs([tmp_path / "o"])) == 2
    lists = tmp_path / "lists.jsonl"
    lists.write_text('{"file": "2", "caption": ["a cat", "a dog"]}\n')
    refused("holds list", write_shards, tmp_path / "photos", lists, tmp_path / "p")


def benchmark(folder: Path, entries: object, images: list[str], name: str = "toy") -> Path:
    samples.write_files(folder, dict.fromkeys(images, b""))
    return samples.write_split(folder, entries, name)


def test_texts_follow_their_images_and_point_back_at_them(tmp_path):
    strange = [{"raw": None, "tokens": ["the", "cat"]}, {"tokens": ["dogs"]}, {"raw": "a \ud83d"}]
    entries = [
        entry("1.jpg", raws=("a red cat",)) | {"sentences": [{"raw": "a red cat"}, *strange]},
        entry("9.jpg", split="train"),
        entry("2.jpg", raws=("a dog", " blue dog "), held_out=True),
    ]
    read = read_split(benchmark(tmp_path, entries, ["images/1.jpg", "images/2.jpg"]))
    assert read.images == [tmp_path / "images" / "1.jpg", tmp_path / "images" / "2.jpg"]
    assert read.texts == ["a red cat", "the cat", "dogs", "a \ufffd", "a dog", "blue dog"]
    assert read.text_to_image == [0, 0, 0, 0, 1, 1] and read.held_out == [False, True]


@cases("place", "images/1.jpg", "1.jpg", "val2014/1.jpg", "images/val2014/1.jpg")
def test_images_lie_where_coco_flickr_and_the_toy_world_put_them(tmp_path, place):
    entries = [entry("1.jpg", split="restval", filepath="val2014"), entry("0.jpg")]
    folder = benchmark(tmp_path, entries, [place], "coco")
    for path in (folder, folder / "dataset_coco.json"):
        assert read_split(path, "restval").images == [folder / place]


@cases(
    "entries, message",
    ([entry("1.jpg"), entry("2.jpg")], "1 of 2 images are missing"),
    ([entry("1.jpg", raws=("a cat", " "))], "no sentences or an empty one"),
    ([entry("1.jpg") | {"sentences": ["a cat"]}], "no sentences"),
    ([{"split": "test", "sentences": []}], "without `filename`"),
    ([entry("../../1.jpg")], "outside the benchmark"),
    ([entry("1.jpg", split="val"), entry("2.jpg", split="train")], "train, val"),
    ([], "no image of split 'test'"),
    (None, "list `images` of objects"),
)
def test_a_faulty_benchmark_is_described(tmp_path, entries, message):
    refused(message, read_split, benchmark(tmp_path, entries, ["1.jpg"]))


@pytest.mark.parametrize(
    ("files", "message"),
    [({}, "found 0"), ({"a": "{"}, "not readable JSON"), ({"a": "{}", "b": "{}"}, "found 2")],
)
def test_a_missing_or_broken_json_is_reported(tmp_path, files, message):
    samples.write_files(tmp_path, {f"dataset_{name}.json": text for name, text in files.items()})
    refused(message, read_split, tmp_path)
    refused("no such benchmark", read_split, tmp_path / "absent")


def reason(data: bytes) -> str:
    with pytest.raises(BrokenImage) as error:
        decode_image(data)
    return str(error.value)


def noise_picture(size: tuple[int, int] = (64, 48)) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(values)


def half(form: str) -> bytes:
    return (data := samples.encoded(noise_picture(), form))[: len(data) // 2]


@cases(
    "data, expected",
    (b"", "empty file"),
    (b"<html>404</html>", "not an image"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image"),
    (half("JPEG"), "truncated"),
    (half("PNG"), "truncated"),
    (half("WEBP"), "broken data"),
    (samples.encoded(Image.new("F", (2, 2)), "TIFF"), "unknown colours"),
    (POINTER, "a Git LFS pointer, not the file itself; run `git lfs pull` in its repository"),
)
def test_what_cannot_be_used_is_refused_with_a_reason(data, expected):
    assert reason(data) == expected


@pytest.mark.filterwarnings("ignore:Image size")
def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    data = samples.encoded(Image.new("1", (300, 300)), "PNG")
    assert Image.MAX_IMAGE_PIXELS is not None  # Pillow's limit is left on
    for limit in (50_000, 80_000):  # over twice the limit Pillow raises, below it only warns
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert reason(data) == "too many pixels"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90_000)
    assert decode_image(data).size == (300, 300)


def pixels(mode: str, values: list, palette: list[int] | None = None) -> Image.Image:
    picture = Image.new(mode, (len(values), 1))
    if palette:
        picture.putpalette(palette)
    picture.putdata(values)
    return picture


def grey(kind: type, *values: int) -> Image.Image:
    return Image.fromarray(np.array([values], kind))


FADING = pixels("RGBA", [(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 128)])
PALETTE = pixels("P", [0, 1], [255, 0, 0, 0, 0, 255])
FRAMES = {"save_all": True, "append_images": [Image.new("P", (1, 1), 1)]}
RED, BLUE, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
SHADES = [BLACK, (100, 100, 100), WHITE]
GREY = grey(np.uint16, 0, 25700, 65535)
LONG = PngImagePlugin.PngInfo()
LONG.add_text("prompt", "x" * 3_000_000, zip=True)


@cases(
    "data, expected",
    (samples.encoded(pixels("RGB", [RED, BLUE]), "PNG", pnginfo=LONG), [RED, BLUE]),
    (samples.encoded(FADING, "PNG"), [RED, WHITE, (127, 127, 127)]),
    (samples.encoded(PALETTE, "PNG", transparency=1), [RED, WHITE]),
    (samples.encoded(PALETTE, "GIF"), [RED, BLUE]),
    (samples.encoded(PALETTE, "GIF", **FRAMES), [RED, BLUE]),
    (samples.encoded(GREY, "PNG"), SHADES),
    (samples.encoded(GREY, "PNG", transparency=25700), [BLACK, WHITE, WHITE]),
    (samples.encoded(grey(np.int32, 0, 100, 255), "TIFF"), SHADES),
    (samples.encoded(grey(np.int32, 0, 39215, 100_000), "TIFF"), [BLACK, (99, 99, 99), WHITE]),
)
def test_a_picture_is_shown_as_a_browser_would_on_white(data, expected):
    assert [tuple(pixel) for pixel in np.asarray(decode_image(data))[0].tolist()] == expected


def test_a_cmyk_jpeg_of_pure_red_is_red():
    red, green, blue = decode_image(samples.image_file((0, 255, 255, 0), "CMYK")).getpixel((4, 4))
    assert red > 240 and green < 15 and blue < 15


@pytest.mark.parametrize(
    ("orientation", "corner"),
    # Where EXIF says that the stored top left corner is to be shown.
    list(enumerate([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (1, 0), (1, 1), (0, 1)], start=1)),
)
def test_the_picture_is_turned_as_exif_says(orientation, corner):
    picture = Image.new("RGB", (40, 20), "white")
    picture.paste("black", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(samples.encoded(picture, "JPEG", exif=exif, quality=95))
    assert decoded.size == ((20, 40) if orientation > 4 else (40, 20))
    x, y = (length - 4 if far else 3 for length, far in zip(decoded.size, corner))
    assert decoded.getpixel((x, y))[0] < 40


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_block_does_not_lose_the_picture():
    broken = b"Exif\x00\x00II*\x00\xff\xff\xff\xff"
    assert decode_image(samples.encoded(Image.new("RGB", (8, 8)), exif=broken)).size == (8, 8)


@pytest.mark.parametrize(
    ("form", "hint", "width"),
    [("JPEG", None, 640), ("JPEG", 100, 160), ("JPEG", 400, 640), ("PNG", 100, 640)],
)
def test_only_a_jpeg_is_decoded_smaller_and_never_below_the_hint(form, hint, width):
    assert (
        decode_image(samples.encoded(noise_picture((640, 480)), form), at_least=hint).width == width
    )


def test_a_folder_of_pictures_is_read_whole_and_the_rest_is_counted(tmp_path):
    names = ("a/1.jfif", "a/2.avif", "3.JP2", ".hidden/4.jpg", "5.heic", "6.txt", "e/7.jpe")
    samples.write_files(tmp_path / "in", dict.fromkeys(names, b""))
    (tmp_path / "in" / "e").rename(tmp_path / "elsewhere")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "back").symlink_to(tmp_path / "in")
    left_out = Counter[str]()
    names = [file.name for file in find_images(tmp_path / "in", left_out)]
    assert sorted(names) == ["1.jfif", "2.avif", "3.JP2", "7.jpe"]
    reasons = ("hidden", "folder linked twice", ".heic (convert to .jpg)", ".txt (no picture)")
    assert left_out == dict.fromkeys(reasons, 1)
    line = refused("a test set must be whole", evaluation_images, tmp_path / "in")
    assert "1 .heic (convert to .jpg)" in line
