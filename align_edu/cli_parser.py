"""What `align-edu` understands: its commands and their options."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from align_edu.io import InputError

# What a command gives back: its JSON object, and the same told to a reader.
Answer = tuple[dict[str, Any], str]
Command = Callable[[argparse.Namespace], Answer]
Add = Callable[[str, str], argparse.ArgumentParser]

TASKS = (
    "retrieval",
    "cxc",
    "zero-shot",
    "neighbours",
    "probe",
    "fine-tune",
    "few-shot",
    "arithmetic",
    "kinds",
)
_SET: dict[str, Any] = {"action": "append", "default": [], "metavar": "part.field=value"}


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def build_parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """Return the parser of `align-edu`; ``args.command`` is what ``commands`` names.

    Raises InputError where the words make no sense.

    >>> names = "demo world filter vocabulary train evaluate index search plan doctor grade".split()
    >>> parser = build_parser(dict.fromkeys(names, lambda args: ({}, "")))
    >>> parser.parse_args(["plan", "--chips", "8"]).chips
    8
    """
    parser = _Parser(prog="align-edu", description="ALIGN as a course that is the reproduction.")
    known = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name: str, about: str) -> argparse.ArgumentParser:
        """Add one command and the option that all of them have."""
        sub = known.add_parser(name, help=about, description=about)
        sub.set_defaults(command=commands[name])
        sub.add_argument("--json", action="store_true", help="one JSON object on standard output")
        return sub

    _add_data_commands(command)
    _add_filter_command(command)
    _add_train_command(command)
    _add_evaluate_command(command)
    _add_search_commands(command)
    _add_plan_command(command)
    command("doctor", "check the environment: OK or what to do")
    _add_grade_command(command)
    return parser


def _add_data_commands(command: Add) -> None:
    sub = command("demo", "the whole main job on toy CC-3M, with a report")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR")
    sub.add_argument("--minutes", type=float, default=4.5, help="of training (default 4.5)")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--pairs", type=int, default=100_000, help="raw pairs (default 100000)")
    sub.add_argument("--scenes", type=int, default=1_000, help="of the benchmark (default 1000)")

    sub = command("world", "write raw toy CC-3M shards, or a benchmark")
    sub.add_argument("out", type=Path)
    sub.add_argument("--pairs", type=int, required=True, help="pairs, or scenes of a benchmark")
    sub.add_argument("--noise", type=float, help="part of the pairs that is noisy, 0 to 0.95")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--benchmark", action="store_true", help="a clean retrieval benchmark")
    sub.add_argument("--train", type=int, default=0, help="further scenes for fine-tuning")
    sub.add_argument(
        "--twins", type=int, default=0, metavar="N",
        help="of --benchmark: after each scene N that differ from it in one fact",
    )  # fmt: skip
    sub.add_argument("--task", metavar="NAME", help="class folders with prompts: object, colour …")
    sub.add_argument("--against", type=Path, help="benchmark whose near-duplicates are mixed in")
    sub.add_argument("--tsv", type=Path, help="also write the clean pairs as a CC-3M TSV")
    sub.add_argument("--workers", type=int, help="processes (default: one a core, at most 4)")

    sub = command("vocabulary", "train a WordPiece vocabulary on alt-texts")
    sub.add_argument("pairs", type=Path)
    sub.add_argument("out", type=Path, help="folder, or a .json file")
    sub.add_argument("--size", type=int, required=True)


def _add_filter_command(command: Add) -> None:
    sub = command("filter", "apply the paper's Section 3 filters to a pairs table")
    sub.add_argument("pairs", type=Path, help="parquet, CC-3M TSV, or a folder of shards")
    sub.add_argument("out", type=Path)
    sub.add_argument("--vocabulary-size", type=int, help="unigrams and bigrams that count as known")
    sub.add_argument(
        "--against",
        type=Path,
        action="append",
        default=[],
        metavar="BENCHMARK",
        help="drop near-duplicates of its images",
    )
    sub.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="another bound, as in min_side=100; NAME=none turns the rule off",
    )
    sub.add_argument(
        "--unsafe-model",
        type=Path,
        metavar="DIR",
        help="an image classifier that scores what is pornographic",
    )
    sub.add_argument(
        "--engine", choices=["local", "cluster"], default="local",
        help="cluster: the Dask scheduler at DASK_SCHEDULER_ADDRESS, or a new one here",
    )  # fmt: skip


def _add_train_command(command: Add) -> None:
    sub = command("train", "train ALIGN from scratch, or fine-tune it for retrieval")
    sub.add_argument("--preset", help="recipe and sizes (default toy)")
    sub.add_argument(
        "--from", dest="start", type=Path, metavar="RUN", help="fine-tune this run, Section 5.1"
    )
    sub.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="SHARDS",
        help="shards, or a benchmark with a training split",
    )
    sub.add_argument("--out", type=Path, required=True, metavar="RUN")
    length = sub.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float)
    length.add_argument("--steps", type=int)
    sub.add_argument("--set", **_SET)
    sub.add_argument("--vocabulary", type=Path, help="tokenizer.json (default: train one)")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--device", choices=["cpu", "cuda", "xla"])
    sub.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="cores that share each batch (default: all that help, at most 4)",
    )
    sub.add_argument("--tensorboard", action="store_true", help="also write TensorBoard events")
    sub.add_argument("--resume", action="store_true", help="go on from the last checkpoint")


def _add_evaluate_command(command: Add) -> None:
    sub = command("evaluate", "measure a trained run")
    sub.add_argument("run", type=Path)
    sub.add_argument(
        "--benchmark",
        metavar="DIR",
        help="Karpathy's JSON with its images, class folders, or NAME:DIR, as in food101:/data",
    )
    sub.add_argument("--task", choices=TASKS, default="retrieval")
    sub.add_argument("--split", help="of the benchmark (default test)")
    sub.add_argument("--templates", type=Path, metavar="FILE", help="prompts for zero-shot")
    sub.add_argument("--ratings", type=Path, metavar="DIR", help="CSVs of cxc (default DIR/cxc)")
    sub.add_argument(
        "--own-pairs",
        action="store_true",
        default=None,
        help="cxc: a caption and its own image match, whatever their rating",
    )
    sub.add_argument("--queries", type=int, help="of arithmetic, for each fact (default 100)")
    sub.add_argument(
        "--epochs", type=int, help="of fine-tune (default 10); few-shot: tune all layers"
    )
    sub.add_argument("--seed", type=int, help="of what a task draws (default 0)")
    sub.add_argument("--name", help="results/TASK-NAME.json, to keep several results of a task")


def _add_search_commands(command: Add) -> None:
    sub = command("index", "build a FAISS index of images")
    sub.add_argument("run", type=Path)
    sub.add_argument("images", type=Path, help="a folder of images or shards, or embeddings .npy")
    sub.add_argument("out", type=Path)
    sub.add_argument(
        "--kind", choices=("exact", "approximate"), help="default: exact up to a million images"
    )

    sub = command("search", "find images by text, image, or image ± text")
    sub.add_argument("index", type=Path)
    sub.add_argument("text", nargs="?")
    sub.add_argument("--image", type=Path)
    sub.add_argument("--plus", action="append", default=[], metavar="TEXT")
    sub.add_argument("--minus", action="append", default=[], metavar="TEXT")
    sub.add_argument("--top", type=int, default=10, metavar="K")
    sub.add_argument("--picture", type=Path, help="where the picture grid goes")


def _add_plan_command(command: Add) -> None:
    sub = command("plan", "what a run costs: memory, step time, days, and why")
    sub.add_argument("--preset", default="toy")
    sub.add_argument("--chips", type=int, default=1, help="devices (default 1)")
    sub.add_argument(
        "--chip", default="here", metavar="KIND",
        help="tpu-v3-core, tpu-v4, tpu-v5e, v100, a100, h100, or here: this machine's processor,"
        " measured (default)",
    )  # fmt: skip
    sub.add_argument("--set", **_SET)
    sub.add_argument("--text-length", type=int, help="word pieces a text (default: as is fed)")


def _add_grade_command(command: Add) -> None:
    sub = command("grade", "mark submitted notebooks, with feedback and the class's mistakes")
    sub.add_argument("folder", type=Path, help="a sub-folder a student, or files with their names")
    sub.add_argument("--seed", type=int, required=True, help="of the hidden tests; keep it secret")
    sub.add_argument("--out", type=Path, required=True, metavar="CSV", help="such as grades.csv")
    sub.add_argument(
        "--seconds", type=float, default=10.0, help="of computing for a function (default 10)"
    )
    sub.add_argument(
        "--megabytes", type=int, default=1024, help="of memory for a function (default 1024)"
    )
    sub.add_argument("--workers", type=int, help="notebooks at a time (default: one per core)")
    sub.add_argument(
        "--unprotected", action="store_true", help="run the submissions without isolation"
    )
    sub.add_argument(
        "--exercises", type=Path, metavar="FILE", help="Python that adds your exercises"
    )
