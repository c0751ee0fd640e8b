"""The toy world draws and writes the same bytes as ever: SHA-256 of everything that it makes.

After a change that is meant to alter pictures, captions or files, print the new hashes with
`python tests/test_world_golden.py` and put them into GOLDEN.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from align_edu.world import World, catalog
from align_edu.world.alt_text import caption, full_captions
from align_edu.world.benchmark import write_ratings
from align_edu.world.draw import draw
from align_edu.world.scene import (
    ATTRIBUTES,
    FACTS,
    Scene,
    Thing,
    child_rng,
    distractors,
    sample_edit,
    scene_facts,
)
from align_edu.world.tasks import TASKS
from align_edu.world.web_noise import NOISE, WorldSettings, make_pair

GOLDEN = {
    "drawings of 58 pixels": "8dfdc5bf17c2253d769df34689b5578e3d1230d14cfc50714966ead3eec6edd0",
    "drawings of 256 pixels": "1c11f11a10153f826ba0f62666c77c374cd219af0191a94502d24e8e86f81bcb",
    "full captions": "f62ad70bbef93a2be8a9e066f33d319d0a022dbc8b750c309cc2a137b50ccd49",
    "ratings": "55c938c78102221779b5a254c44124ad59f754c94f59bac090319604a716bb6f",
    "captions": "001cddac39499b6959a440b0f90aef4bdc55fce296217f011bbf7cc03c01bea5",
    "noise texts": "1ad150a7fe182233a7092a3efe130aa62d44e12c10a642d538fcc85f32cb1bf4",
    "edits": "58febac99724f68a912e8f74aef8301952b556c4badf38cf8448254c219296e9",
    "pairs": "06bd4e55499bb1ca116386daafcd96a0673876ed7dcddd8844f13277b3ca9399",
    "shards": "28f069947fdd1fc31c1173a155132af96cb93ce3ce2e04653ffe9c7965449dec",
    "benchmark": "facdcf18cb7cc9bd11163f6db44822bba1c173ba996c9b1b93a6739d36c9c8a0",
    "tasks": "3499937eb994984721c7f158de0844390cc51a2713d3ab41d8001d57eea68d49",
}


def scenes(n: int) -> list[Scene]:
    """Return n scenes over all kinds, colours, places, weathers, styles, counts and relations."""
    kinds, colours, places, weathers, styles, sizes, relations = (
        list(FACTS[name])
        for name in ("kind", "colour", "place", "weather", "style", "size", "relation")
    )
    found = []
    for i in range(n):
        place, weather = places[i % 16], weathers[i // 16 % 6]
        facts = catalog.PLACES[place]
        dark = weather in catalog.DAYLIGHT_WEATHER and not facts.daylight
        weather = weather if facts.outdoor and not dark else "clear"
        thing = Thing(kinds[i * 7 % 40], colours[i % 12])
        other, relation, count = None, None, 1 + i // 3 % 4
        if i % 4 == 0:
            other = Thing(kinds[(i * 7 + 1) % 40], colours[(i // 4 + 5) % 12])
            relation, count = relations[i // 4 % 3], 1
        style, size = styles[i // 5 % 3], sizes[i // 7 % 3]
        found.append(Scene(thing, count, size, place, weather, style, other, relation))
    return found


def drawings(size: int, n: int) -> Iterator[bytes]:
    for i, scene in enumerate(scenes(n)):
        yield draw(scene, child_rng(17, i), size).tobytes()


def captions(*kinds: str) -> Iterator[bytes]:
    for i, scene in enumerate(scenes(500)):
        for completeness in kinds:
            yield caption(scene, child_rng(19, i), completeness).encode()


def texts_with_every_fact() -> Iterator[bytes]:
    for i, scene in enumerate(scenes(500)):
        yield "\n".join(full_captions(scene, child_rng(18, i), n=3)).encode()


def noise_texts() -> Iterator[bytes]:
    for name, noise in NOISE.items():
        yield json.dumps([name, noise.share, noise.rules, noise.side]).encode()
        for i, scene in enumerate(scenes(80)):
            if noise.text is not None:
                yield noise.text(scene, child_rng(20, i)).encode()


def edits() -> Iterator[bytes]:
    for attribute in ATTRIBUTES:
        for i in range(20):
            rng = child_rng(21, i)
            edit = sample_edit(attribute, rng)
            shown = [edit.before, edit.after, *distractors(edit, rng)]
            yield json.dumps([edit.minus, edit.plus, *map(scene_facts, shown)]).encode()


def pairs() -> Iterator[bytes]:
    """Pairs of a world so large that it has popular images, nearly all of them noisy."""
    settings = WorldSettings(seed=4, noise=0.9, image_size=32, pairs=100_000, shard_size=5_000)
    for i in range(300):
        pair = make_pair(settings, 3, i)
        row = [pair.text, pair.noise, scene_facts(pair.scene), pair.original_size, pair.url]
        yield json.dumps(row).encode() + pair.jpeg


def files(folder: Path) -> Iterator[bytes]:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        yield str(path.relative_to(folder)).encode() + path.read_bytes()


def shards(folder: Path) -> Iterator[bytes]:
    near = World(seed=9).write_benchmark(folder / "near", scenes=8, image_size=58)
    world = World(seed=8, noise=0.5)
    yield from files(world.write(folder / "raw", 90, workers=1, shard_size=40, benchmark=near))


def benchmark(folder: Path) -> Iterator[bytes]:
    world = World(seed=10)
    yield from files(world.write_benchmark(folder / "b", 40, image_size=58, train=10, twins=3))


def ratings(folder: Path) -> Iterator[bytes]:
    write_ratings(folder / "cxc", [f"{i}.jpg" for i in range(60)], scenes(60), seed=11)
    yield from files(folder / "cxc")


def tasks(folder: Path) -> Iterator[bytes]:
    sizes = {"train": 8, "val": 2, "test": 8, "image_size": 32}
    for task in TASKS:
        yield from files(World(seed=12).write_task(folder / task, task, **sizes))
    for task in ("object", "colour"):
        unseen = folder / f"unseen {task}"
        yield from files(World(seed=12).write_task(unseen, task, **sizes, held_out=True))


MADE: dict[str, Callable[[Path], Iterator[bytes]]] = {
    "drawings of 58 pixels": lambda folder: drawings(58, 288),
    "drawings of 256 pixels": lambda folder: drawings(256, 40),
    "full captions": lambda folder: texts_with_every_fact(),
    "captions": lambda folder: captions("full", "most", "brief", "mixed"),
    "noise texts": lambda folder: noise_texts(),
    "edits": lambda folder: edits(),
    "pairs": lambda folder: pairs(),
    "ratings": ratings,
    "shards": shards,
    "benchmark": benchmark,
    "tasks": tasks,
}


def digest(name: str, folder: Path) -> str:
    parts = (hashlib.sha256(part).digest() for part in MADE[name](folder))
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.parametrize("name", MADE)
def test_what_the_world_makes_is_byte_identical_to_what_it_made_before(name, tmp_path):
    assert digest(name, tmp_path) == GOLDEN[name]


if __name__ == "__main__":
    for made in MADE:
        with tempfile.TemporaryDirectory() as scratch:
            print(f'    "{made}": "{digest(made, Path(scratch))}",')
