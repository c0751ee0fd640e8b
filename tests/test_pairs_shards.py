"""open_pairs: what it finds in shards, what it skips and counts, what it refuses."""

import pickle
import tarfile
import threading
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
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
    return [(f"{key}.jpg", image), (f"{key}.txt", text.encode()), (f"{key}.json", b"{}")]


def test_each_pair_gives_back_its_own_text_and_image_bytes(tmp_path: Path) -> None:
    keys = ["00", "01", "02", "10", "11", "12"]
    images = [image_file((i, 0, 0)) for i in range(6)]
    pairs = [pair(key, f"text {key}", image) for key, image in zip(keys, images)]
    write_tar(tmp_path / "00000.tar", sum(pairs[:3], []))
    write_tar(tmp_path / "00001.tar", sum(pairs[3:], []))
    source = open_pairs([tmp_path])
    assert source.keys == keys
    assert source.captions == [f"text {key}" for key in source.keys]
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
        ("9.PNG", image_file(form="PNG")),
        ("9.txt", b"upper case"),
    ]
    source = open_pairs([write_tar(tmp_path / "a.tar", members)])
    assert source.keys == ["1", "8", "9"]
    assert source.captions == ["a red cat", "a red cat", "upper case"]
    once = ("missing text", "missing image", "empty text", "text is not UTF-8", "repeated key")
    assert source.skipped == dict.fromkeys(once, 1) | {"unsafe name": 4}
    assert not (tmp_path.parent / "6.jpg").exists()


def test_each_usual_image_suffix_is_an_image(tmp_path: Path) -> None:
    names = ["1.jpg", "2.jpeg", "3.png", "4.webp"]
    texts = [(f"{number}.txt", b"a cat") for number in range(1, 5)]
    write_tar(tmp_path / "a.tar", [(name, JPEG) for name in names] + texts)
    assert open_pairs([tmp_path]).names == names


def test_damaged_shards_are_counted_and_what_comes_before_the_damage_is_kept(
    tmp_path: Path,
) -> None:
    whole = write_tar(tmp_path / "a.tar", pair("1") + pair("2") + pair("3"))
    offsets = {name: offset for name, offset, _ in tar_members(whole)}
    whole.write_bytes(whole.read_bytes()[: offsets["3.jpg"] + 100])
    (tmp_path / "b.tar").write_bytes(b"")
    (tmp_path / "c.tar").write_bytes(b"no tar at all " * 100)
    source = open_pairs([tmp_path])
    assert source.keys == ["1", "2"]
    assert source.skipped == {"unreadable shard": 3}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_found_where_tarfile_finds_them_whatever_the_tar_format(
    tmp_path: Path, form: int
) -> None:
    long = "folder/" + "x" * 90
    unicode = "caf\u00e9" * 10
    members = [*pair("1"), *pair(long), *pair("2"), *pair(unicode)]
    path = write_tar(tmp_path / "a.tar", members, form)
    with tarfile.open(path) as tar:
        expected = [(m.name, m.offset_data, m.size) for m in tar if m.isreg()]
    assert list(tar_members(path)) == expected
    assert open_pairs([path]).keys == ["1", long, "2", unicode]


def test_links_and_folders_in_a_tar_are_no_members(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        link = tarfile.TarInfo("1.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        folder = tarfile.TarInfo("2.jpg")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    assert list(tar_members(path)) == []


def _first_image(source: object) -> bytes:
    return source.image_bytes(0)  # type: ignore[attr-defined]


def test_images_are_read_alike_by_threads_and_by_other_processes(tmp_path: Path) -> None:
    images = [image_file((i, 9, 9)) for i in range(20)]
    write_tar(tmp_path / "a.tar", [m for i in range(20) for m in pair(str(i), image=images[i])])
    source = open_pairs([tmp_path])
    wrong: list[int] = []

    def read_all() -> None:
        wrong.extend(i for i in range(20) if source.image_bytes(i) != images[i])

    threads = [threading.Thread(target=read_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    with ProcessPoolExecutor(1) as pool:
        assert pool.submit(_first_image, source).result() == images[0]
    assert len(pickle.dumps(source)) > 0


def filtered(folder: Path, texts: dict[str, str]) -> Path:
    """The output of a filter, beside the shard of its raw pairs."""
    members = [
        member
        for key, text in texts.items()
        for member in (
            (f"{key}.jpg", JPEG),
            (f"{key}.txt", text.encode()),
            (f"{key}.json", b'{"url": "x/%s"}' % key.encode()),
        )
    ]
    write_tar(folder / "raw" / "00000.tar", members)
    filter_pairs(folder / "raw", folder / "kept")
    return folder / "kept"


TEXTS = {"1": "a red cat on a beach", "2": "1920x1080", "3": "two blue dogs in snow"}


def test_a_filter_output_opens_only_the_kept_pairs_of_its_shards(tmp_path: Path) -> None:
    out = filtered(tmp_path, TEXTS)
    for path in (out, out / "pairs.parquet"):
        source = open_pairs([path])
        assert source.captions == [TEXTS["1"], TEXTS["3"]]
        assert source.skipped == Counter()


def test_a_filter_output_may_move_together_with_its_shards_but_not_lose_them(
    tmp_path: Path,
) -> None:
    filtered(tmp_path / "old", TEXTS)
    (tmp_path / "old").rename(tmp_path / "new")
    assert open_pairs([tmp_path / "new" / "kept"]).keys == ["1", "3"]
    (tmp_path / "new" / "raw").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="shards are gone"):
        open_pairs([tmp_path / "new" / "kept"])


def test_a_kept_pair_that_left_the_shards_is_counted(tmp_path: Path) -> None:
    out = filtered(tmp_path, TEXTS)
    write_tar(tmp_path / "raw" / "00000.tar", pair("1"))
    source = open_pairs([out])
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
    assert str(tmp_path / "data") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not (REAL / "shards").exists(), reason="../shared/real is missing")
def test_real_shards_of_images_without_texts_are_refused() -> None:
    with pytest.raises(InputError, match="no texts"):
        open_pairs([REAL / "shards"])


@pytest.mark.skipif(not (REAL / "recipes").exists(), reason="../shared/real is missing")
def test_real_photographs_with_their_alt_text_are_read_whole(tmp_path: Path) -> None:
    lines = (REAL / "recipes" / "pairs.tsv").read_text(encoding="utf-8").splitlines()[:40]
    rows = [line.split("\t") for line in lines]
    files = {name: REAL / "recipes" / "images" / name for name, _ in rows}
    rows = [row for row in rows if files[row[0]].is_file()]
    members = []
    for number, (name, text) in enumerate(rows):
        suffix = files[name].suffix
        members += [
            (f"{number:09d}{suffix}", files[name].read_bytes()),
            (f"{number:09d}.txt", text.encode()),
        ]
    write_tar(tmp_path / "00000.tar", members)
    source = open_pairs([tmp_path])
    assert len(source) == len(rows) >= 30
    assert source.captions == [text.strip() for _, text in rows]
