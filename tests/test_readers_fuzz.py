"""Readers of tables, shards, pictures and JSON on input that a machine invents.

No traceback: a reader returns, or raises InputError (of one picture: BrokenImage). No silent
loss: what it kept, dropped and reported adds up to what was put in.
"""

import csv
import io
import json
import random
import re
import tempfile
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from align_edu.filters import filter_pairs
from align_edu.io import InputError
from align_edu.pairs import decode_image, open_pairs, read_pairs, read_split
from align_edu.pairs.files import TWO_TEXTS
from align_edu.pairs.images import SUFFIXES, BrokenImage
from align_edu.world import World
from align_edu.world.benchmark import kinds_shown
from tests.samples import LONG, encoded, image_file, refused, write_tar

CASES = 500 if LONG else 50  # of each of the four readers
REASONS = {
    "empty file", "not an image", "too many pixels", "truncated", "broken data", "unknown colours",
}  # fmt: skip
fuzz = settings(
    max_examples=CASES, derandomize=True, database=None, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

words = st.sampled_from(
    ["a red cat", "on a beach", "IMG_2014.jpg", "[SEP]", "été", "🐈", "1920x1080"]
)
odd = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
any_character = st.characters(categories=["L", "Cc", "Cs"])  # lone surrogates, too
texts = st.lists(words | odd, max_size=8).map(" ".join)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(any_character),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd, inner, max_size=3),
    max_leaves=6,
)
DEEP = '{"images":' * 20_000
PICTURE = image_file()
MEMBERS = st.tuples(
    st.sampled_from(["0", "1", "2", "a/0", "b.c", "../0", "/0", "é"]),
    st.sampled_from(["jpg", "JPG", "png", "txt", "json", "cls", "webp"]),
)
KINDS = {"jpg": "image", "png": "image", "webp": "image", "txt": "txt", "json": "json"}
FORMS = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "JPEG": ["L", "RGB", "CMYK"],
    "WEBP": ["RGB", "RGBA"],
    "AVIF": ["RGB", "RGBA"],
    "JPEG2000": ["L", "RGB"],
    "GIF": ["L", "P"],
    "BMP": ["1", "L", "P", "RGB"],
    "TIFF": ["1", "L", "LA", "RGB", "RGBA", "CMYK", "I", "F", "YCbCr"],
}
NUMBERS = st.none() | st.integers(-(2**31), 2**31 - 1)
COLUMNS = {
    "url": texts, "sha256": st.none() | odd, "original_width": NUMBERS, "original_height": NUMBERS,
    "width": NUMBERS, "status": st.none() | st.sampled_from(["success", "failed_to_download"]),
    "NSFW": st.none() | st.sampled_from(["UNLIKELY", "NSFW", "x"]),
    "similarity": st.none() | st.floats(), "key": st.none() | odd,
}  # fmt: skip
CAPTION_TYPES = [
    pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string()),
    pa.list_(pa.string()), pa.string_view(),
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Cut a file, change some of its bytes, or put something before it."""
    how = draw(st.sampled_from(["cut", "change", "before"]))
    if how == "cut":
        return data[: draw(st.integers(0, len(data) - 1))]
    if how == "before":
        return draw(st.binary(min_size=1, max_size=9)) + data
    changed = bytearray(data)
    for at in draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=8)):
        changed[at] ^= draw(st.integers(1, 255))
    return bytes(changed)


@st.composite
def parquets(draw: st.DrawFn) -> tuple[str, bytes, int]:
    rows = draw(st.integers(0, 9))
    name = draw(st.sampled_from(["caption", "TEXT", "text", "alt"]))
    values = draw(st.lists(st.none() | texts, min_size=rows, max_size=rows))
    kind = draw(st.sampled_from([*CAPTION_TYPES, *CAPTION_TYPES[:1] * 6]))
    if pa.types.is_list(kind):
        values = [[text] for text in values]
    if pa.types.is_binary(kind):
        values = [text and text.encode("utf-16") for text in values]
    columns = {name: pa.array(values, kind)}
    for other in draw(st.sets(st.sampled_from(list(COLUMNS)))):
        columns[other] = pa.array(draw(st.lists(COLUMNS[other], min_size=rows, max_size=rows)))
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return "pairs.parquet", file.getvalue(), rows


@st.composite
def text_tables(draw: st.DrawFn) -> tuple[str, bytes, int]:
    rows = draw(st.lists(st.tuples(texts, texts), max_size=9))
    kind = draw(st.sampled_from(["tsv", "csv", "jsonl"]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    file = io.StringIO()
    if kind == "csv":
        csv.writer(file).writerows([("caption", "url"), *rows])
    elif kind == "tsv":
        cells = [[re.sub(r"[\t\n\r]", " ", cell) for cell in row] for row in rows]
        file.writelines(f"{caption}\thttp://x/{url.strip()}{end}" for caption, url in cells)
    else:
        strange = draw(st.none() | json_values.map(json.dumps) | st.just(DEEP))
        lines = [json.dumps({"caption": caption, "url": url}) for caption, url in rows]
        file.write("\n".join(lines + ([] if strange is None else [strange])))
        return "raw.jsonl", file.getvalue().encode(), len(rows) if strange is None else -1
    return f"raw.{kind}", file.getvalue().encode(), len(rows)


@pytest.mark.longer
@given(st.data())
@fuzz
def test_each_row_of_a_table_is_kept_or_dropped_by_a_named_rule(data):
    name, content, rows = data.draw(parquets() | text_tables())
    whole = rows >= 0 and data.draw(st.sampled_from([True, True, False]))
    content = content if whole or not content else data.draw(damaged(content))
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / f"in-{name}", Path(folder) / "out"
        path.write_bytes(content)
        try:
            read = len(read_pairs(path))
            funnel = filter_pairs(path, out, workers=1)
        except InputError as error:
            assert "\n" not in str(error) and path.name in str(error), error
            return
        assert funnel.raw == read
        assert read == rows or not whole
        assert funnel.kept + sum(step.dropped for step in funnel.steps) == funnel.raw
        assert pq.read_metadata(out / "pairs.parquet").num_rows == funnel.kept


def test_a_column_of_empty_objects_is_left_out_and_a_deeper_one_is_named(tmp_path):
    path = tmp_path / "raw.jsonl"
    path.write_text('{"caption": "a red cat sleeps", "url": "u", "exif": {}}\n' * 2)
    assert filter_pairs(path, tmp_path / "out", workers=1).raw == 2
    path.write_text('{"caption": "a red cat sleeps", "url": "u", "exif": {"make": {}}}\n')
    refused("raw.jsonl: not kept", filter_pairs, path, tmp_path / "other", workers=1)


@st.composite
def shards(draw: st.DrawFn) -> list[tuple[str, bytes]]:
    captions = texts.map(lambda text: json.dumps({"caption": text, "id": 2**70}))
    values = captions | json_values.map(json.dumps) | st.just(DEEP)
    contents = {
        "txt": texts.map(str.encode) | st.binary(max_size=5),
        "json": values.map(str.encode) | st.binary(max_size=9),
    }
    pictures = st.binary(max_size=3).map(PICTURE.__add__)
    keys = draw(st.lists(MEMBERS, max_size=14))
    return [(f"{key}.{ending}", draw(contents.get(ending, pictures))) for key, ending in keys]


def expected(members: list[tuple[str, bytes]]) -> tuple[int, dict[str, bytes]]:
    """How many pairs and members must be returned or reported, and the picture of each key."""
    seen: dict[tuple[str, str], bytes] = {}
    others = 0  # unsafe or repeated
    for name, content in members:
        folder, _, file = name.rpartition("/")
        stem, _, ending = file.partition(".")
        if (kind := KINDS.get(ending.lower())) is None:
            others += Path(file).suffix.lower() in SUFFIXES  # two dots: counted
            continue
        key = (f"{folder}/{stem}".removeprefix("/"), kind)
        if name.startswith(("/", "..")) or key in seen:
            others += 1
        else:
            seen[key] = content
    pictures = {key: content for (key, kind), content in seen.items() if kind == "image"}
    return len({key for key, _ in seen}) + others, pictures


@pytest.mark.longer
@given(st.data())
@fuzz
def test_each_pair_of_a_shard_is_returned_or_counted_with_a_reason(data):
    members = data.draw(shards())
    with tempfile.TemporaryDirectory() as folder:
        path = write_tar(Path(folder) / "00000.tar", members)
        content = path.read_bytes()
        data_ends = len(content.rstrip(b"\0"))
        cut = data.draw(st.none() | st.integers(0, max(data_ends - 1, 0)))
        path.write_bytes(content[:cut])
        total, pictures = expected(members)
        with suppress(InputError):
            read_pairs(Path(folder))
        try:
            pairs = open_pairs([Path(folder)])
        except InputError as error:
            assert "00000.tar" in str(error) or folder in str(error)
            notes = re.findall(r"(\d+) x ([^,)]+)", str(error))  # two texts are no loss
            reported = sum(int(n) for n, what in notes if not TWO_TEXTS.startswith(what))
            assert cut is not None or reported == total or "have no texts" in str(error), error
            return
        for i, key in enumerate(pairs.keys):
            assert pairs.image_bytes(i) == pictures[key]
        found = len(pairs) + sum(pairs.skipped.values()) - pairs.skipped[TWO_TEXTS]
        assert found == total if cut is None else found >= min(total, len(pairs) + 1)


@pytest.mark.longer
@given(
    st.sampled_from([(form, mode) for form, modes in FORMS.items() for mode in modes]),
    st.tuples(st.integers(1, 24), st.integers(1, 24)),
    st.booleans(),
    st.data(),
)
@fuzz
def test_a_picture_is_decoded_whole_or_refused_with_a_reason(kind, size, whole, data):
    form, mode = kind
    image = Image.new(mode, size)
    image.frombytes(random.Random(sum(size)).randbytes(len(image.tobytes())))
    content = encoded(image, form)
    content = content if whole else data.draw(damaged(content))
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            picture = decode_image(content)
        except BrokenImage as error:
            assert str(error) in REASONS
            assert not whole or (mode, str(error)) == ("F", "unknown colours")
            return
    assert picture.mode == "RGB" and (not whole or picture.size == size)


def places(value) -> list[tuple]:
    """Return each container inside a JSON value with each of its keys."""
    inner = list(value.items() if isinstance(value, dict) else enumerate(value))
    below = [places(each) for _, each in inner if isinstance(each, (dict, list))]
    return [(value, key) for key, _ in inner] + sum(below, [])


@st.composite
def karpathy(draw: st.DrawFn) -> tuple[object, int]:
    """A benchmark's record of which up to three values are anything; and how many those are."""
    images = [
        {
            "filename": f"{i}.jpg", "split": draw(st.sampled_from(["test", "val"])), "imgid": i,
            "sentences": [{"raw": draw(words), "tokens": ["a"]} for _ in range(i % 2 + 1)],
            "scene": {"kind": "dog", "colour": "red", "count": 1, "size": "small",
                      "place": "beach", "weather": "rain", "style": "photo"},
        }
        for i in range(draw(st.integers(1, 4)))
    ]  # fmt: skip
    record = {"images": images, "dataset": "toy"}
    changes = draw(st.integers(0, 3))
    for _ in range(changes):
        place, key = draw(st.sampled_from(places(record)))
        place[key] = draw(json_values)
    return record, changes


@pytest.mark.longer
@given(st.data())
@fuzz
def test_a_benchmarks_json_is_read_whole_or_refused(data):
    record, changes = data.draw(karpathy())
    content = json.dumps(record).encode()
    if data.draw(st.integers(0, 5)) == 0:
        content, changes = data.draw(damaged(content)), 1
    if data.draw(st.integers(0, 30)) == 0:
        content, changes = DEEP.encode(), 1
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "dataset_toy.json").write_bytes(content)
        (Path(folder) / "images").mkdir()
        for i in range(4):
            (Path(folder) / "images" / f"{i}.jpg").write_bytes(PICTURE)
        for read in (read_split, kinds_shown, World().write_benchmark):
            try:
                found = read(Path(folder))
            except InputError as error:
                assert "\n" not in str(error) and folder in str(error), error
                assert changes or read is not kinds_shown
                continue
            if read is read_split and changes == 0:
                chosen = [row for row in record["images"] if row["split"] == "test"]
                by_split = Counter(row["split"] for row in record["images"])
                assert len(found.images) == len(chosen) == by_split["test"]
                assert found.texts == [s["raw"] for row in chosen for s in row["sentences"]]
