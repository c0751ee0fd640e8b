"""The front door: `align-edu COMMAND`."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from align_edu.errors import InputError, TrainingStopped

# What a command gives back: its JSON object, and the same told to a reader.
Answer = tuple[dict[str, Any], str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 2 bad input, 1 anything else.

    >>> main(["vocabulary", "/nowhere", "/nowhere/out", "--size", "100"])
    2
    """
    try:
        args = _parser().parse_args(argv)
        answer, text = args.command(args)
    except InputError as error:
        return _complain(str(error), 2)
    except TrainingStopped as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return _complain("stopped; finished work is kept, the same command goes on", 1)
    sys.stdout.write((json.dumps(answer, ensure_ascii=False) if args.json else text) + "\n")
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def _complain(message: str, status: int) -> int:
    sys.stderr.write(f"align-edu: {' '.join(message.split())}\n")
    return status


def _demo(args: argparse.Namespace) -> Answer:
    from align_edu.demo import run_demo

    results = run_demo(
        args.out, minutes=args.minutes, seed=args.seed, pairs=args.pairs, scenes=args.scenes
    )
    from align_edu.evaluation import retrieval_table

    seconds = sum(results["seconds"].values())
    text = (
        f"{retrieval_table(results['retrieval'])}\n"
        f"{seconds:.0f} seconds in all, {results['seconds']['train']:.0f} of them training.\n"
        f"Report: {args.out / 'report.html'}\n"
        f"Search it yourself: align-edu search {args.out / 'index'} 'two red cats in the snow'"
    )
    return results, text


def _world(args: argparse.Namespace) -> Answer:
    from align_edu.world import World

    if args.benchmark:
        out = World(seed=args.seed).write_benchmark(args.out, args.pairs, progress=True)
        return {"out": str(out), "scenes": args.pairs}, f"{args.pairs} scenes in {out}"
    world = World(seed=args.seed) if args.noise is None else World(args.seed, args.noise)
    out = world.write(
        args.out, args.pairs, workers=args.workers, benchmark=args.against, progress=True
    )
    if args.tsv is not None:
        from align_edu.pairs import read_pairs, write_tsv

        write_tsv(read_pairs(out), args.tsv)
    return {"out": str(out), "pairs": args.pairs}, f"{args.pairs} pairs in {out}"


def _filter(args: argparse.Namespace) -> Answer:
    from align_edu.filters import filter_pairs, rules_from_text

    funnel = filter_pairs(
        args.pairs,
        args.out,
        rules=rules_from_text(args.rule),
        vocabulary_size=args.vocabulary_size,
        against=args.against,
        unsafe_model=args.unsafe_model,
        engine=args.engine,
        progress=True,
    )
    return funnel.to_dict(), str(funnel)


def _vocabulary(args: argparse.Namespace) -> Answer:
    from align_edu.pairs import read_pairs
    from align_edu.wordpiece import save_wordpiece, train_wordpiece

    texts = read_pairs(args.pairs)["caption"].to_pylist()
    tokenizer = train_wordpiece([text for text in texts if text], args.size)
    path = args.out if args.out.suffix == ".json" else args.out / "tokenizer.json"
    save_wordpiece(tokenizer, path)
    size = tokenizer.get_vocab_size()
    return {"out": str(path), "size": size}, f"{size} word pieces in {path}"


def _train(args: argparse.Namespace) -> Answer:
    from align_edu.presets import get_preset, replace_fields
    from align_edu.training import train
    from align_edu.training.metrics import read_metrics
    from align_edu.wordpiece import load_wordpiece

    changes = dict(_change(text) for text in args.set)
    run = train(
        replace_fields(get_preset(args.preset), changes),
        args.data,
        args.out,
        steps=args.steps,
        minutes=args.minutes,
        seed=args.seed,
        resume=args.resume,
        tokenizer=load_wordpiece(args.vocabulary) if args.vocabulary else None,
        device=args.device,
        tensorboard=args.tensorboard,
    )
    row = read_metrics(run.folder)[-1]
    text = f"trained {row['step']} steps, loss {row['loss']:.3f} (floor {row['floor']:.3f})"
    return row | {"out": str(run.folder)}, f"{text}; the run is in {run.folder}"


def _evaluate(args: argparse.Namespace) -> Answer:
    from align_edu.evaluation import evaluate_retrieval, retrieval_table, write_result
    from align_edu.training import load_run

    run = load_run(args.run)
    result = evaluate_retrieval(run, args.benchmark, progress=True)
    write_result(args.run, args.task, result)
    return result, retrieval_table(result)


def _index(args: argparse.Namespace) -> Answer:
    from align_edu.search import ImageIndex
    from align_edu.training import load_run

    index = ImageIndex.build(load_run(args.run), args.images, progress=True)
    index.save(args.out)
    skipped = {str(path): reason for path, reason in index.skipped.items()}
    text = f"{len(index)} images indexed in {args.out}; {len(skipped)} could not be read"
    return {"out": str(args.out), "images": len(index), "skipped": skipped}, text


def _search(args: argparse.Namespace) -> Answer:
    from align_edu.search import search
    from align_edu.show import save_search_picture

    hits = search(args.index, args.text, args.image, args.plus, args.minus, args.top)
    words = [args.text or "", str(args.image or "")]
    words += [f"+ {text}" for text in args.plus] + [f"− {text}" for text in args.minus]
    query = " ".join(word for word in words if word)
    picture = save_search_picture(args.picture or args.index / "search.png", query, hits)
    rows = [{"rank": h.rank, "score": round(h.score, 4), "path": str(h.path)} for h in hits]
    lines = [f"{r['rank']:>3}  {r['score']:.3f}  {r['path']}" for r in rows]
    answer = {"query": query, "hits": rows, "picture": str(picture)}
    return answer, "\n".join([*lines, f"picture: {picture}"])


def _doctor(args: argparse.Namespace) -> Answer:
    from align_edu.lab.doctor import diagnose, report

    findings = diagnose()
    rows = [vars(finding) for finding in findings]
    return {"ok": all(f.ok for f in findings), "findings": rows}, report(findings)


def _change(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: write it as part.field=value, as in recipe.batch_size=64")
    return name, value


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="align-edu", description="ALIGN as a course that is the reproduction.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name: str, act: Callable[[argparse.Namespace], Answer], about: str) -> _Parser:
        """Add one command and the option that all of them have."""
        sub = commands.add_parser(name, help=about, description=about)
        sub.set_defaults(command=act)
        sub.add_argument("--json", action="store_true", help="one JSON object on standard output")
        return sub

    _add_data_commands(command)
    _add_model_commands(command)
    command("doctor", _doctor, "check the environment: OK or what to do")
    return parser


def _add_data_commands(command: Callable[..., _Parser]) -> None:
    sub = command("demo", _demo, "the whole main job on toy CC-3M, with a report")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR")
    sub.add_argument("--minutes", type=float, default=4.4, help="of training (default 4.4)")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--pairs", type=int, default=100_000, help="raw pairs (default 100000)")
    sub.add_argument("--scenes", type=int, default=1_000, help="of the benchmark (default 1000)")

    sub = command("world", _world, "write raw toy CC-3M shards, or a benchmark")
    sub.add_argument("out", type=Path)
    sub.add_argument("--pairs", type=int, required=True, help="pairs, or scenes of a benchmark")
    sub.add_argument("--noise", type=float, help="part of the pairs that is noisy, 0 to 0.95")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--benchmark", action="store_true", help="a clean retrieval benchmark")
    sub.add_argument("--against", type=Path, help="benchmark whose near-duplicates are mixed in")
    sub.add_argument("--tsv", type=Path, help="also write the clean pairs as a CC-3M TSV")
    sub.add_argument("--workers", type=int, help="processes (default: one a core)")

    sub = command("filter", _filter, "apply the paper's Section 3 filters to a pairs table")
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

    sub = command("vocabulary", _vocabulary, "train a WordPiece vocabulary on alt-texts")
    sub.add_argument("pairs", type=Path)
    sub.add_argument("out", type=Path, help="folder, or a .json file")
    sub.add_argument("--size", type=int, required=True)


def _add_model_commands(command: Callable[..., _Parser]) -> None:
    sub = command("train", _train, "train ALIGN from scratch")
    sub.add_argument("--preset", default="toy")
    sub.add_argument("--data", type=Path, nargs="+", required=True, metavar="SHARDS")
    sub.add_argument("--out", type=Path, required=True, metavar="RUN")
    length = sub.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float)
    length.add_argument("--steps", type=int)
    sub.add_argument("--set", action="append", default=[], metavar="part.field=value")
    sub.add_argument("--vocabulary", type=Path, help="tokenizer.json (default: train one)")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--device", choices=["cpu", "cuda"])
    sub.add_argument("--tensorboard", action="store_true", help="also write TensorBoard events")
    sub.add_argument("--resume", action="store_true", help="go on from the last checkpoint")

    sub = command("evaluate", _evaluate, "measure a trained run")
    sub.add_argument("run", type=Path)
    sub.add_argument("--benchmark", type=Path, required=True, metavar="DIR")
    sub.add_argument("--task", choices=["retrieval"], default="retrieval")

    sub = command("index", _index, "build a FAISS index of images")
    sub.add_argument("run", type=Path)
    sub.add_argument("images", type=Path)
    sub.add_argument("out", type=Path)

    sub = command("search", _search, "find images by text, image, or image ± text")
    sub.add_argument("index", type=Path)
    sub.add_argument("text", nargs="?")
    sub.add_argument("--image", type=Path)
    sub.add_argument("--plus", action="append", default=[], metavar="TEXT")
    sub.add_argument("--minus", action="append", default=[], metavar="TEXT")
    sub.add_argument("--top", type=int, default=10, metavar="K")
    sub.add_argument("--picture", type=Path, help="where the picture grid goes")
