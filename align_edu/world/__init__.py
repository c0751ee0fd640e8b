"""The toy CC-3M: scenes drawn by code, alt-text written by code, noise labelled with the truth."""

from dataclasses import dataclass
from pathlib import Path

from align_edu.world.benchmark import write_benchmark
from align_edu.world.tasks import write_task
from align_edu.world.web_noise import DEFAULT_NOISE, WorldSettings
from align_edu.world.write import SHARD_SIZE, write_world

__all__ = ["World"]


@dataclass(frozen=True)
class World:
    """A small web of pictures and alt-text that needs no download.

    seed: 0 to 4294967295; worlds of different seeds share no picture.
    noise: the part of all pairs that is noisy, 0 to 0.95. `web_noise.NOISE` holds the mix.
    image_size: pixels of each side of a picture in the shards.

    Each method returns the folder that it wrote, whose bytes depend on the arguments alone, and
    raises InputError if an argument is out of range, the folder holds something else, or the
    disk is full. With `progress` it shows a progress bar on standard error.

    >>> import tempfile
    >>> out = World(seed=7).write(Path(tempfile.mkdtemp()), pairs=12)
    >>> (out / "00000.tar").exists()
    True
    """

    seed: int = 0
    noise: float = DEFAULT_NOISE
    image_size: int = 58

    def write(
        self, out: str | Path, pairs: int, *, workers: int | None = None,
        benchmark: str | Path | None = None, shard_size: int = SHARD_SIZE, progress: bool = False,
    ) -> Path:  # fmt: skip
        """Write raw pairs as shards in img2dataset's webdataset layout.

        out: folder for the shards. A folder that an earlier call left unfinished is completed.
        pairs: number of pairs, noisy ones included; `shard_size` of them in each shard.
        workers: number of processes; None for one per CPU core. They do not change the bytes.
        benchmark: folder of a benchmark; near-duplicates of its pictures are then among the
        pairs, as test pictures are on the web.
        """
        near = None if benchmark is None else Path(benchmark)
        settings = WorldSettings(self.seed, self.noise, self.image_size, pairs, shard_size, near)
        return write_world(settings, Path(out), workers=workers, progress=progress)

    def write_benchmark(
        self, out: str | Path, scenes: int = 1_000, *, image_size: int = 128, train: int = 0,
        twins: int = 0, progress: bool = False,
    ) -> Path:  # fmt: skip
        """Write a clean retrieval benchmark: unique scenes with five captions each.

        out: folder for `dataset_toy.json` (Karpathy's format) and `images/`. Its pictures are in
        no shard of any world.
        scenes: number of scenes. image_size: pixels of each side of a picture.
        train: number of further scenes, the split "train", for fine-tuning.
        twins: near twins after each scene, which differ from it in one fact.
        """
        made_with = {"seed": self.seed, "scenes": scenes, "image_size": image_size}
        made_with |= {name: n for name, n in (("train", train), ("twins", twins)) if n}
        return write_benchmark(Path(out), made_with, progress)

    def write_task(
        self, out: str | Path, task: str, *, train: int = 800, val: int = 200, test: int = 500,
        image_size: int = 128, held_out: bool = False, progress: bool = False,
    ) -> Path:  # fmt: skip
        """Write a classification task as class folders, with prompts for zero-shot.

        out: folder for `SPLIT/CLASS/NUMBER.jpg`, `classes.txt` and `templates.txt`. Its pictures
        are in no shard and no benchmark.
        task: a key of `align_edu.world.tasks.TASKS`, such as "object", "colour" or "count".
        train, val, test: pictures of each split, all classes alike.
        image_size: pixels of each side of a picture.
        held_out: test on compositions that training never sees; for "object" and "colour".

        Paper: Section 5.2 (VTAB's natural, specialised and structured tasks).

        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "style"
        >>> out = World().write_task(folder, "style", train=3, val=0, test=3)
        >>> sorted(file.parent.name for file in out.glob("test/*/*.jpg"))
        ['photo', 'poster', 'sketch']
        """
        made_with = {"task": task, "seed": self.seed, "train": train, "val": val, "test": test}
        made_with |= {"image_size": image_size, "held_out": held_out}
        return write_task(Path(out), made_with, progress)
