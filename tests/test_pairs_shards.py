"""open_pairs: what it finds in shards, what it skips and counts, what it refuses."""

import pickle
import tarfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from align_edu.filters import filter_pairs
from align_edu.io import InputError
from align_edu.pairs import open_pairs
from align_edu.pairs.tar_index import tar_members
from tests.tar_writer import image_file, write_tar

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"
JPEG = image_file()


def pair(key: str, text: str = "a red cat", image: bytes = JPEG) -> list[tuple[str, bytes]]:
    json = b'{"url": "x/%s"}' % key.encode()
    return [(f"{key}.jpg", image), (f"{key}.txt", text.encode()), (f"{key}.json", json)]


def test_each_pair_gives_back_its_own_text_and_image_bytes(tmp_path: Path) -> None:
    keys = ["00", "01", "02", "10", "11", "12"]
    images = [image_file((i, 0, 0)) for i in range(6)]
    pairs = [pair(key, f"text {key}", image) for key, image in zip(keys, images)]
    write_tar(tmp_path / "00000.tar", sum(pairs[:3], []))
    write_tar(tmp_path / "00001.tar", sum(pairs[3:], []))
    source = open_pairs([tmp_path])
    assert source.keys == keys
    assert source.captions == [f"text {key}" for key in keys]
    assert [source.image_bytes(i) for i in range(len(source))] == images
    assert source.names[4] == "11.jpg" and source.place(4)[0].name == "00001.tar"
    assert source.skipped == Counter()


def test_broken_members_are_counted_by_reason_and_the_rest_is_kept(tmp_path: Path) -> None:
    members = [
        *pair("1"),
        ("2.jpg", JPEG),
        ("3.txt", b"no image"),
        *pair("4", "  \n"),
        ("5.jpg", JPEG),
        ("5.txt", b"\xff\xfe\xff"),
        *pair("../6"),
        *pair("/abs/7"),
        *pair("8"),
        ("8.txt", b"again"),
        *[(name, JPEG) for name in ("9.PNG", "10.jpeg", "11.webp")],
        *[(f"{key}.txt", b"a dog") for key in (9, 10, 11)],
    ]
    source = open_pairs([write_tar(tmp_path / "a.tar", members)])
    assert source.keys == ["1", "8", "9", "10", "11"]
    assert source.captions == ["a red cat"] * 2 + ["a dog"] * 3
    once = ("missing text", "missing image", "empty text", "text is not UTF-8", "repeated key")
    assert source.skipped == dict.fromkeys(once, 1) | {"unsafe name": 6}
    assert not (tmp_path.parent / "6.jpg").exists()


def test_damaged_shards_are_counted_and_pairs_before_the_damage_are_kept(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", pair("1") + pair("2") + pair("3"))
    offsets = {name: offset for name, offset, _ in tar_members(whole)}
    whole.write_bytes(whole.read_bytes()[: offsets["3.jpg"] + 100])
    (tmp_path / "b.tar").write_bytes(b"")
    (tmp_path / "c.tar").write_bytes(b"no tar at all " * 100)
    source = open_pairs([tmp_path])
    assert source.keys == ["1", "2"]
    lost = "end of a shard lost, with unknown pairs: "
    assert source.skipped == {
        f"{lost}a.tar (unexpected end of data)": 1,
        f"{lost}b.tar (empty file)": 1,
        f"{lost}c.tar (invalid header)": 1,
    }


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_found_where_tarfile_finds_them(tmp_path: Path, form: int) -> None:
    keys = ["1", "folder/" + "x" * 90, "2", "caf\u00e9" * 10]
    path = write_tar(tmp_path / "a.tar", [member for key in keys for member in pair(key)], form)
    with tarfile.open(path) as tar:
        expected = [(m.name, m.offset_data, m.size) for m in tar if m.isreg()]
    assert list(tar_members(path)) == expected
    assert open_pairs([path]).keys == keys


def test_links_and_folders_in_a_tar_are_no_members(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        link, folder = tarfile.TarInfo("1.jpg"), tarfile.TarInfo("2.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        folder.type = tarfile.DIRTYPE
        tar.addfile(link)
        tar.addfile(folder)
    assert list(tar_members(tmp_path / "a.tar")) == []


def test_images_are_read_alike_by_threads_and_by_other_processes(tmp_path: Path) -> None:
    images = [image_file((i, 9, 9)) for i in range(20)]
    write_tar(tmp_path / "a.tar", [m for i in range(20) for m in pair(str(i), image=images[i])])
    source = open_pairs([tmp_path])
    for pool in (ThreadPoolExecutor(4), ProcessPoolExecutor(1)):
        with pool:
            assert list(pool.map(source.image_bytes, range(20))) == images
    assert len(pickle.dumps(source)) > 0


TEXTS = {"1": "a red cat on a beach", "2": "1920x1080", "3": "two blue dogs in snow"}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The output of a filter, which drops pair 2, beside the shard of its raw pairs."""
    members = [member for key, text in TEXTS.items() for member in pair(key, text)]
    write_tar(tmp_path / "data" / "raw" / "00000.tar", members)
    filter_pairs(tmp_path / "data" / "raw", tmp_path / "data" / "kept")
    return tmp_path / "data" / "kept"


def test_a_filter_output_opens_only_the_kept_pairs_of_its_shards(kept: Path) -> None:
    for path in (kept, kept / "pairs.parquet"):
        source = open_pairs([path])
        assert source.captions == [TEXTS["1"], TEXTS["3"]]
        assert source.skipped == Counter()


def test_a_filter_output_moves_with_its_shards_but_cannot_lose_them(kept: Path) -> None:
    moved = kept.parent.rename(kept.parents[1] / "new")
    assert open_pairs([moved / "kept"]).keys == ["1", "3"]
    (moved / "raw").rename(kept.parents[1] / "elsewhere")
    with pytest.raises(InputError, match="shards are gone"):
        open_pairs([moved / "kept"])


def test_a_kept_pair_that_left_the_shards_is_counted(kept: Path) -> None:
    write_tar(kept.parent / "raw" / "00000.tar", pair("1"))
    source = open_pairs([kept])
    assert source.keys == ["1"]
    assert source.skipped == {"kept pair not in the shards": 1}


def test_a_filter_output_made_from_a_tsv_has_no_images_to_open(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("a red cat\thttp://x/1\n")
    filter_pairs(tmp_path / "pairs.tsv", tmp_path / "kept")
    with pytest.raises(InputError, match="without shards"):
        open_pairs([tmp_path / "kept"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such folder"),
        (lambda path: path.mkdir(), "no .tar shard"),
        (lambda path: path.write_text("not a tar"), "no .tar shard"),
        (lambda path: write_tar(path / "0.tar", []), "they are empty"),
        (lambda path: write_tar(path / "0.tar", [("1.jpg", JPEG)]), "no texts"),
        (lambda path: write_tar(path / "0.tar", [("1.txt", b"a cat")]), "1 x missing image"),
    ],
)
def test_a_source_without_pairs_is_refused_with_the_reason(tmp_path: Path, make, message) -> None:
    make(tmp_path / "data")
    with pytest.raises(InputError, match=message) as error:
        open_pairs([tmp_path / "data"])
    assert str(tmp_path / "data") in str(error.value) and "\n" not in str(error.value)


@pytest.mark.skipif(not (REAL / "shards").exists(), reason="../shared/real is missing")
def test_real_shards_of_images_without_texts_are_refused() -> None:
    with pytest.raises(InputError, match="no texts"):
        open_pairs([REAL / "shards"])


@pytest.mark.skipif(not (REAL / "recipes").exists(), reason="../shared/real is missing")
def test_real_photographs_with_their_alt_text_are_read_whole(tmp_path: Path) -> None:
    lines = (REAL / "recipes" / "pairs.tsv").read_text(encoding="utf-8").split("\n")[:40]
    rows, members = [line.split("\t") for line in lines], []
    for number, (name, text) in enumerate(rows):
        file = REAL / "recipes" / "images" / name
        members.append((f"{number:09d}{file.suffix}", file.read_bytes()))
        members.append((f"{number:09d}.txt", text.encode()))
    source = open_pairs([write_tar(tmp_path / "00000.tar", members)])
    assert source.captions == [text.strip() for _, text in rows]
