"""Pairs as people really have them: read right, or counted with a reason."""

import csv
import dataclasses
import io
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image, PngImagePlugin

from align_edu import ImageIndex
from align_edu.cli import main
from align_edu.filters import filter_pairs
from align_edu.filters.near_duplicates import evaluation_images
from align_edu.filters.rules import Rules
from align_edu.io import InputError
from align_edu.pairs import decode_image, open_pairs, read_pairs, read_split
from align_edu.pairs.images import find_images
from align_edu.pairs.tar_index import tar_members
from tests.tar_writer import image_file, write_tar

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"
needs_real = pytest.mark.skipif(not REAL.exists(), reason="../shared/real is missing")
OFF = {field.name: None for field in dataclasses.fields(Rules)}


def picture(seed: int) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).resize((300, 300)).save(file, "JPEG")
    return file.getvalue()


def pair(key: str, text: str, seed: int = 0) -> list[tuple[str, bytes]]:
    return [(f"{key}.jpg", picture(seed)), (f"{key}.txt", text.encode())]


def test_equal_keys_in_folders_and_shards_are_different_pairs(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_tar(raw / "a.tar", pair("train/0", "a red cat", 1) + pair("val/0", "1920x1080", 2))
    write_tar(raw / "b.tar", pair("train/0", "1280x720", 3) + pair("val/0", "a blue dog", 4))
    table = read_pairs(raw)
    assert table["key"].to_pylist() == ["train/0", "val/0"] * 2 == open_pairs([raw]).keys
    assert table["shard"].to_pylist() == ["a", "a", "b", "b"]
    filter_pairs(raw, tmp_path / "kept")
    kept = open_pairs([tmp_path / "kept"])
    assert kept.captions == ["a red cat", "a blue dog"] and kept.skipped == Counter()
    assert [kept.image_bytes(i) for i in (0, 1)] == [picture(1), picture(4)]


def test_a_near_duplicate_is_found_whatever_its_key_and_what_is_unread_is_on_the_screen(
    tmp_path: Path,
) -> None:
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "1.jpg").write_bytes(picture(3))
    write_tar(tmp_path / "raw" / "a.tar", pair("t/0", "a red cat", 1))
    broken = [("t/1.jpg", b"no picture"), ("t/1.txt", b"two dogs in snow")]
    write_tar(tmp_path / "raw" / "b.tar", pair("t/0", "a blue dog", 3) + broken)
    funnel = filter_pairs(
        tmp_path / "raw", tmp_path / "kept", rules=Rules(**OFF | {"max_distance": 66}),
        against=[tmp_path / "eval"],
    )  # fmt: skip
    assert read_pairs(tmp_path / "kept")["caption"].to_pylist() == ["a red cat", "two dogs in snow"]
    assert "1 pairs without a readable image not checked" in str(funnel)
    assert funnel.to_dict()["warnings"] == ["1 pairs without a readable image not checked"]


@pytest.mark.parametrize("beside", ["stats", "parquet", "nothing"])
@pytest.mark.parametrize("end", ["between members", "in a member", "properly"])
def test_a_shard_that_ends_early_is_named_with_the_pairs_it_lacks(
    tmp_path: Path, beside: str, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["a red cat", "two dogs", "rain in spring"]
    raw = tmp_path / "raw"
    path = write_tar(raw / "7.tar", [m for i in range(3) for m in pair(str(i), texts[i], i)])
    offsets = {name: offset for name, offset, _ in tar_members(path)}
    whole = path.read_bytes()
    path.write_bytes(whole[: offsets["2.jpg"] + (100 if end == "in a member" else -512)])
    if end == "properly":
        path.write_bytes(path.read_bytes() + bytes(10_240))
    rows = [{"key": str(i), "caption": texts[i], "status": "success"} for i in range(3)]
    if beside == "stats":
        (raw / "7_stats.json").write_text('{"count": 4, "successes": 3}')
    if beside == "parquet":
        rows.append({"key": "3", "caption": "gone", "status": "failed_to_download"})
        pa.parquet.write_table(pa.Table.from_pylist(rows), raw / "7.parquet")
    source = open_pairs([raw])
    assert source.captions == texts[:2]
    expected = "missing in 7.tar, which holds 2 of its 3"
    if beside == "nothing":
        expected = "end of a shard lost, with unknown pairs: 7.tar (unexpected end of data)"
    lost = {} if (beside, end) == ("nothing", "properly") else {expected: 1}
    assert source.skipped == lost
    warnings = [f"{count} {reason}" for reason, count in lost.items()]
    for arguments in (["--json"], []):
        assert main(["filter", str(raw), str(tmp_path / "kept"), *arguments]) == 0
        screen = capsys.readouterr().out
        assert all(line in screen.split("\n") for line in warnings) or arguments
        assert not arguments or json.loads(screen)["warnings"] == warnings


def test_a_lost_shard_of_a_folder_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "raw" / "0.tar", pair("1", "a red cat"))
    row = {"key": "1", "caption": "two dogs", "status": "success"}
    pa.parquet.write_table(pa.Table.from_pylist([row] * 3), tmp_path / "raw" / "1.parquet")
    funnel = filter_pairs(tmp_path / "raw", tmp_path / "kept", rules=Rules(**OFF))
    assert funnel.warnings == ["3 missing in 1.tar, which holds 0 of its 3"]


def test_joined_tars_are_read_to_the_end_and_damage_inside_is_reported(tmp_path: Path) -> None:
    one = write_tar(tmp_path / "1.tar", pair("1", "a cat")).read_bytes()
    two = write_tar(tmp_path / "2.tar", pair("2", "a dog")).read_bytes()
    (tmp_path / "1.tar").write_bytes(one + two)
    assert open_pairs([tmp_path / "1.tar"]).keys == ["1", "2"]
    (tmp_path / "1.tar").write_bytes(one[:600].replace(b"ustar", b"xxxxx") + one[600:])
    with pytest.raises(InputError, match="1.tar"):
        open_pairs([tmp_path / "1.tar"])


def test_the_text_is_txt_before_json_for_filter_and_training_alike(tmp_path: Path) -> None:
    both = [("1.json", b'{"caption": "from json"}'), *pair("1", "from txt")]
    both += [("4.json", b'{"caption": "a dog "}'), *pair("4", " a dog")]
    only_json = [("2.jpg", picture(2)), ("2.json", b'{"TEXT": "a \\ud83d cat"}')]
    none = [("3.jpg", picture(3)), ("3.json", b'{"url": "x"}')]
    path = write_tar(tmp_path / "a.tar", none + both + only_json)
    source = open_pairs([path])
    assert source.captions == ["from txt", "a dog", "a \ufffd cat"]
    different = "caption in KEY.json that differs from KEY.txt, which is used"
    assert source.skipped == {"missing text": 1, different: 1}
    assert read_pairs(path)["caption"].to_pylist() == [None, "from txt", " a dog", "a \ufffd cat"]
    funnel = filter_pairs(path, tmp_path / "kept", rules=Rules(**OFF))
    assert funnel.warnings == [f"1 {different}"] and f"1 {different}" in str(funnel)
    assert open_pairs([tmp_path / "kept"]).captions == source.captions


def test_training_reads_the_texts_that_the_filter_judged(tmp_path: Path) -> None:
    write_tar(tmp_path / "raw" / "0.tar", pair("1", "from the tar"))
    row = {"key": "1", "caption": "from the table", "status": "success"}
    pa.parquet.write_table(pa.Table.from_pylist([row]), tmp_path / "raw" / "0.parquet")
    filter_pairs(tmp_path / "raw", tmp_path / "kept", rules=Rules(**OFF))
    assert open_pairs([tmp_path / "kept"]).captions == ["from the table"]


@pytest.mark.parametrize("ending", ["gif", "bmp", "jfif", "jpe", "tiff", "webp", "JPG"])
def test_each_picture_that_can_be_decoded_is_one_in_a_shard(tmp_path: Path, ending: str) -> None:
    path = write_tar(tmp_path / "a.tar", [(f"1.{ending}", picture(0)), ("1.txt", b"a cat")])
    assert open_pairs([path]).names == [f"1.{ending}"]


def test_names_with_odd_characters_are_keys(tmp_path: Path) -> None:
    names = ["a\u0085b", "c\u2028d", "caf\udce9"]
    path = write_tar(tmp_path / "a.tar", [m for name in names for m in pair(name, "a cat")])
    assert open_pairs([path]).keys == ["a\u0085b", "c\u2028d", "caf\ufffd"]
    assert read_pairs(path)["key"].to_pylist() == ["a\u0085b", "c\u2028d", "caf\ufffd"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cc12m.tsv", "http://x/1\ta cat\nhttp://x/2\ttwo \u2028 dogs\n"),
        ("cc3m.tsv", "a cat\thttp://x/1\ntwo \u2028 dogs\thttp://x/2\n"),
        ("header.tsv", "\ufeffcaption\turl\na cat\thttp://x/1\ntwo \u2028 dogs\thttp://x/2\n"),
        ("a.csv", '\ufeffURL,n,TEXT\nhttp://x/1,1,"a cat"\nhttp://x/2,2,"two \u2028 dogs"\n'),
        (
            "a.jsonl",
            '{"alt_text": "a cat", "url": "http://x/1"}\n'
            '{"alt_text": "two \u2028 dogs", "url": "http://x/2"}\n',
        ),
    ],
)
def test_each_dialect_gives_caption_and_url(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    table = read_pairs(tmp_path / name)
    assert table["caption"].to_pylist() == ["a cat", "two \u2028 dogs"]
    assert table["url"].to_pylist() == ["http://x/1", "http://x/2"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["URL", "TEXT", "WIDTH", "NSFW"], ["url", "caption", "original_width", "nsfw"]),  # LAION
        (["id", "text", "height"], ["id", "caption", "original_height"]),  # COYO
        (["uid", "text", "original_width"], ["uid", "caption", "original_width"]),  # DataComp
        (["caption", "width", "original_width"], ["caption", "width", "original_width"]),
        (["\ufeffalt_text", "text"], ["\ufeffalt_text", "caption"]),
    ],
)
def test_column_names_of_other_sets_are_recognised(tmp_path: Path, names, expected) -> None:
    path = tmp_path / "a.parquet"
    pa.parquet.write_table(pa.table({name: ["1"] for name in names}), path)
    assert read_pairs(path).column_names == expected


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a cat", None]).cast(pa.string_view()),
        pa.array(["a cat", None]).dictionary_encode(),
        pa.array([b"a cat", None]),
        pa.array(["a cat", None], pa.large_string()),
    ],
)
def test_captions_of_every_text_type_are_read(tmp_path: Path, column: pa.Array) -> None:
    pa.parquet.write_table(pa.table({"caption": column}), tmp_path / "a.parquet")
    assert read_pairs(tmp_path / "a.parquet")["caption"].to_pylist() == ["a cat", None]
    assert filter_pairs(tmp_path / "a.parquet", tmp_path / "kept", rules=Rules(**OFF)).kept == 2


def test_a_list_of_captions_is_refused_and_bytes_outside_utf8_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pa.parquet.write_table(pa.table({"caption": [["a", "b"]]}), path)
    with pytest.raises(InputError, match=r"a.parquet: the column `caption` holds list.* each row"):
        read_pairs(path)
    pa.parquet.write_table(pa.table({"caption": [b"caf\xe9"]}), path)
    assert read_pairs(path)["caption"].to_pylist() == ["caf\ufffd"]


def test_a_folder_of_pictures_is_read_whole_and_the_rest_is_counted(tmp_path: Path) -> None:
    for name in ("a/1.jfif", "a/2.avif", "3.JP2", ".hidden/4.jpg", "5.heic", "6.txt", "e/7.jpe"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    (tmp_path / "in" / "e").rename(tmp_path / "elsewhere")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "back").symlink_to(tmp_path / "in")
    left_out = Counter[str]()
    names = [file.name for file in find_images(tmp_path / "in", left_out)]
    assert sorted(names) == ["1.jfif", "2.avif", "3.JP2", "7.jpe"]
    reasons = ("hidden", "folder linked twice", ".heic (convert to .jpg)", ".txt (no picture)")
    assert left_out == dict.fromkeys(reasons, 1)
    with pytest.raises(InputError, match=r"1 .heic \(convert to .jpg\); a test set must be whole"):
        evaluation_images(tmp_path / "in")


def test_an_index_takes_pictures_beside_tars_and_tars_without_texts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from align_edu.search.index import embed_source
    from align_edu.training import load_run

    model = Path(__file__).parents[1] / "data_samples" / "toy_model"

    folder = tmp_path / "in"
    write_tar(folder / "a.tar", [("1.jpg", picture(1)), ("2.jpg", picture(2)), ("2.txt", b"a cat")])
    (folder / "photo.jpg").write_bytes(picture(3))
    (folder / "old.heic").touch()
    run = load_run(model)
    found = embed_source(run, folder, progress=True)
    assert [file.name for file in found.files] == ["photo.jpg", "1.jpg", "2.jpg"]
    assert "left out: 1 .heic (convert to .jpg)" in capsys.readouterr().err
    assert main(["index", str(model), str(folder), str(tmp_path / "index"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["images"], answer["left_out"]) == (3, {".heic (convert to .jpg)": 1})
    assert ImageIndex.load(tmp_path / "index").left_out == answer["left_out"]
    write_tar(folder / "a.tar", [("notes.md", b"no pictures")])
    assert [file.name for file in embed_source(run, folder).files] == ["photo.jpg"]


GREYS = {
    "I;16": np.array([[0, 25700, 65535]], np.uint16),
    "I": np.array([[0, 100, 255]], np.int32),
    "I above": np.array([[0, 39215, 100000]], np.int32),
}


@pytest.mark.parametrize("name", GREYS)
@pytest.mark.parametrize("options", [{}, {"transparency": 25700}])
def test_grey_of_16_and_32_bits_keeps_its_shades(name: str, options: dict) -> None:
    file, form = io.BytesIO(), "PNG" if name == "I;16" else "TIFF"
    Image.fromarray(GREYS[name]).save(file, form, **options)
    grey = np.asarray(decode_image(file.getvalue()))[0, :, 0].tolist()
    assert grey == [0, 255 if options and form == "PNG" else {"I above": 99}.get(name, 100), 255]


def test_a_png_with_long_metadata_is_decoded() -> None:
    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("prompt", "x" * 3_000_000, zip=True)
    Image.new("RGB", (4, 4), "red").save(file, "PNG", pnginfo=info)
    assert decode_image(file.getvalue()).getpixel((0, 0)) == (255, 0, 0)


def test_karpathy_files_with_bom_tokens_and_null_are_read(tmp_path: Path) -> None:
    sentences = [{"raw": None, "tokens": ["a", "cat"]}, {"tokens": ["dogs"]}, {"raw": "a \ud83d"}]
    entry = {"filename": "1.jpg", "split": "test", "sentences": sentences}
    (tmp_path / "1.jpg").touch()
    path = tmp_path / "dataset_a.json"
    path.write_text(json.dumps({"images": [entry]}), encoding="utf-8-sig")
    assert read_split(tmp_path).texts == ["a cat", "dogs", "a \ufffd"]
    for wrong in ("a cat", {"raw": None}):
        path.write_text(json.dumps({"images": [entry | {"sentences": [wrong]}]}))
        with pytest.raises(InputError, match="no sentences or an empty one"):
            read_split(tmp_path)


@needs_real
@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl"])
def test_a_folder_with_captions_becomes_shards_and_what_is_skipped_is_counted(
    tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (REAL / "recipes" / "pairs.tsv").read_text(encoding="utf-8").split("\n")
    rows = [line.split("\t") for line in lines[:20]]
    folder, listed, out = tmp_path / "photos", tmp_path / f"captions.{ending}", tmp_path / "out"
    folder.mkdir()
    for name, _ in rows:
        shutil.copy(REAL / "recipes" / "images" / name, folder)
    (folder / "note.heic").touch()
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "alone.jpg").write_bytes(image_file())
    wrong = [["gone.jpg", "a cat"], ["broken.jpg", "a dog"], [rows[0][0], " "]]
    with listed.open("w", encoding="utf-8", newline="") as file:
        if ending == "jsonl":
            file.writelines(
                json.dumps({"file_name": name, "text": text}) + "\n" for name, text in rows + wrong
            )
        else:
            form = {"delimiter": "\t"} if ending == "tsv" else {}
            csv.writer(file, lineterminator="\n", **form).writerows(rows + wrong)
    assert main(["pairs", str(folder), str(listed), str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["pairs"] == 20 and answer["skipped"] == {
        "caption of a missing file": 1,
        "broken picture (not an image)": 1,
        "empty caption": 1,
        "picture without a caption": 1,
        ".heic (convert to .jpg)": 1,
    }
    source = open_pairs([out])
    assert source.captions == [text.strip() for _, text in rows] and source.skipped == Counter()
    assert source.image_bytes(3) == (folder / rows[3][0]).read_bytes()
    row = read_pairs(out).to_pylist()[3]
    with Image.open(folder / rows[3][0]) as opened:
        assert (row["original_width"], row["original_height"]) == opened.size
    assert row["key"] == "000000003" and row["shard"] == "00000"
    assert main(["pairs", str(folder), str(listed), str(out)]) == 2
