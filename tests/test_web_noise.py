import io
from collections import Counter

import imagehash
import pytest
from PIL import Image

from align_edu.filters import filter_pairs
from align_edu.io import InputError
from align_edu.world import World, web_noise
from align_edu.world.catalog import WEB
from align_edu.world.scene import is_held_out
from align_edu.world.web_noise import NOISE, Pair, WorldSettings, make_pair, popular_images

# The mix that the documentation promises, in per cent of all pairs at the default rate.
DOCUMENTED = {
    "file_name": 3, "camera_id": 1.5, "thumbnail_version": 0.6, "dimensions": 1.2,
    "query_string": 1, "boilerplate": 3.8, "marketing": 1.2, "keyword_list": 2.2,
    "other_caption": 1.2, "one_word": 1.4, "over_long": 1.2, "rare_junk": 1.7,
    "other_language": 1.2, "too_small": 1.4, "extreme_aspect": 0.8, "popular_image": 1.2,
    "near_duplicate": 0.4,
}  # fmt: skip
BOILERPLATE = WEB["formats"]["boilerplate"]["format"]
FROM_IMAGE = {"too_small", "extreme_aspect", "popular_image", "near_duplicate"}


def pairs_of(n: int, **changes: object) -> list[Pair]:
    values = {"seed": 5, "noise": 0.25, "image_size": 58, "pairs": 5_000, "shard_size": 5_000}
    settings = WorldSettings(**(values | changes))  # type: ignore[arg-type]
    return [make_pair(settings, 0, index) for index in range(n)]


@pytest.fixture
def blank_pictures(monkeypatch):
    blank = Image.new("RGB", (58, 58))
    monkeypatch.setattr(web_noise, "draw", lambda scene, rng, size: blank)
    web_noise._popular_pair.cache_clear()
    yield
    web_noise._popular_pair.cache_clear()


def test_the_mix_is_the_documented_one_and_its_rules_are_those_of_the_filters(tmp_path):
    assert {name: noise.share * 100 for name, noise in NOISE.items()} == pytest.approx(DOCUMENTED)
    assert sum(DOCUMENTED.values()) == pytest.approx(25.0)
    assert {name for name, noise in NOISE.items() if noise.side == "image"} == FROM_IMAGE
    raw = World(seed=1).write(tmp_path / "raw", pairs=20, workers=1)
    known = {step.rule for step in filter_pairs(raw, tmp_path / "kept").steps}
    assert {rule for noise in NOISE.values() for rule in noise.rules} <= known


@pytest.mark.usefixtures("blank_pictures")
def test_each_noise_has_its_documented_share_of_a_world():
    n = 6_000
    pairs = pairs_of(n, pairs=100_000)
    seen = Counter(p.noise for p in pairs)
    assert seen["clean"] / n == pytest.approx(0.75, abs=0.02)
    for name, percent in DOCUMENTED.items():
        if name == "near_duplicate":  # only where there is a benchmark to be near to
            assert seen[name] == 0
            continue
        expected = n * percent / 100 * 25 / 24.6
        assert abs(seen[name] - expected) < 4 * expected**0.5, name
    # The alt-texts of a popular image differ, and its file does not.
    popular = [p for p in pairs if p.noise == "popular_image"]
    assert len(popular) > 40
    assert len({p.text.lower() for p in popular}) > len(popular) / 2
    assert len({(p.jpeg, p.url, p.original_size) for p in popular}) == 1


@pytest.mark.usefixtures("blank_pictures")
@pytest.mark.parametrize("rate", [0.0, 0.95])
def test_the_rate_scales_all_noise_and_no_picture_shows_a_held_out_composition(rate):
    pairs = pairs_of(1_500, noise=rate)
    seen = Counter(p.noise for p in pairs)
    assert 1 - seen["clean"] / 1_500 == pytest.approx(rate, abs=0.035)
    assert rate == 0 or seen["boilerplate"] > seen["one_word"] > seen["extreme_aspect"] > 0
    assert not any(is_held_out(p.scene) for p in pairs)


@pytest.mark.usefixtures("blank_pictures")
def test_a_small_world_shares_boilerplate_and_only_noisy_pictures_break_the_size_rules():
    pairs = pairs_of(5_000)
    shared = Counter(p.text for p in pairs if p.noise == "boilerplate")
    assert set(shared) == set(BOILERPLATE)
    assert min(shared.values()) > 10  # the paper drops texts shared by more than ten images
    for p in pairs:
        short, long = sorted(p.original_size)
        assert (short <= 200) == (p.noise == "too_small"), p.noise
        assert (long / short >= 3) == (p.noise == "extreme_aspect"), p.noise


def test_a_popular_image_has_over_1000_alt_texts_in_a_world_of_100_000_pairs():
    images = {n: popular_images(WorldSettings(5, 0.25, 58, n, 5_000)) for n in (90_000, 100_000)}
    assert images == {90_000: 0, 100_000: 1}
    texts = 100_000 * 0.25 * 1.2 / 24.6  # without near-duplicates, whose 0.4 % go to the others
    assert texts - 5 * texts**0.5 > 1_000


def test_near_duplicates_look_like_a_benchmark_picture_but_are_other_files(tmp_path):
    folder = World(seed=9).write_benchmark(tmp_path / "benchmark", scenes=12)
    files = sorted((folder / "images").iterdir())
    known = [imagehash.phash(Image.open(file)) for file in files]
    pairs = pairs_of(700, noise=0.95, benchmark=folder)
    near = [p for p in pairs if p.noise == "near_duplicate"]
    assert len(near) >= 5
    for p in near:
        mine = imagehash.phash(Image.open(io.BytesIO(p.jpeg)))
        assert min(mine - other for other in known) <= 10  # of 64 bits
        assert p.jpeg not in {file.read_bytes() for file in files}


def test_a_folder_that_is_no_benchmark_cannot_be_near_to(tmp_path):
    (tmp_path / "dataset_toy.json").write_text('{"images": []}')
    with pytest.raises(InputError, match="has no images with scenes"):
        World().write(tmp_path / "world", pairs=10, benchmark=tmp_path)
    assert not (tmp_path / "world").exists()
