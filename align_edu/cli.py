"""The command line: `align-edu COMMAND`.

commands.toml is the table of commands and options. The function `_NAME` runs the command NAME, or
the one that its table names: it takes the options by name, and returns a JSON object and the same
as text.
"""

import argparse
import io
import json
import os
import pkgutil
import shutil
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import align_edu
from align_edu.io import InputError, TrainingStopped, only_writer, write_json
from align_edu.presets import fine_tuning, get_preset, replace_fields

_TYPES = {"N": int, "X": float, "TEXT": str}
Answer = tuple[dict[str, Any], str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 2 bad input, 1 anything else.

    >>> main(["vocabulary", "/nowhere", "/nowhere/out", "--size", "100"])
    2
    """
    try:
        argv = sys.argv[1:] if argv is None else argv
        options = vars(_build_parser(argv).parse_args(argv))
        run, as_json = options.pop("run_command"), options.pop("json")
        _refuse_ignored(options, options.pop("option_rules"))
        if not 0 <= (options.get("seed") or 0) < 2**32:
            raise InputError(f"--seed {options['seed']}: give a whole number from 0 to {2**32 - 1}")
        answers = run(**options)
        for answer, text in [answers] if isinstance(answers, tuple) else answers:
            _write(json.dumps(answer, ensure_ascii=False) if as_json else text)
    except InputError as error:
        return _complain(str(error), 2)
    except (TrainingStopped, KeyboardInterrupt) as error:
        stopped = "stopped; finished work is kept, and the same command continues it"
        return _complain(str(error) or stopped, 1)
    return 0


def _write(text: str) -> None:
    """Write a line to standard output, with escapes for what its encoding lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try again when it ends
        cause = error.strerror or error
        raise TrainingStopped(f"standard output: cannot be written ({cause})") from error


def _complain(message: str, status: int) -> int:
    sys.stderr.write(f"align-edu: {' '.join(message.split())}\n")
    return status


def _refuse_ignored(options: dict[str, Any], rules: dict[str, tuple[Any, list[str], str]]) -> None:
    """Raise InputError for an option that the other options would leave without effect."""
    given = {name for name, (default, _, _) in rules.items() if options[name] != default}
    for name in sorted(given):
        _, not_with, only_with = rules[name]
        if clash := sorted(given.intersection(not_with)):
            raise InputError(f"--{name} and --{clash[0]}: give only one")
        if only_with and only_with not in given:
            raise InputError(f"--{name}: takes effect only with --{only_with}; give both or none")


class _Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def _build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of all commands, with the options of the one that is requested."""
    parser = _Parser(prog="align-edu", description="Teach and reproduce the ALIGN paper.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    table = Path(__file__).with_name("commands.toml").read_text(encoding="utf-8")
    for name, options in tomllib.loads(table).items():
        about, elsewhere = options.pop("help"), options.pop("runs", None)
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("--json", action="store_true", help="print one JSON object")
        rules = {}
        for option, settings in options.items() if name in argv[:1] else ():
            not_with, only_with = settings.pop("not_with", []), settings.pop("only_with", "")
            added = command.add_argument(option, **_for_argparse(**settings))
            rules[added.dest] = (added.default, not_with, only_with)
        command.set_defaults(run_command=_runner(name, elsewhere), option_rules=rules)
    return parser


def _runner(name: str, elsewhere: str | None) -> Callable[..., Answer | Iterator[Answer]]:
    if elsewhere is None:
        return globals()[f"_{name}"]
    return lambda **options: pkgutil.resolve_name(f"align_edu.{elsewhere}")(**options)


def _for_argparse(help: str = "", **settings: Any) -> dict[str, Any]:
    """Return argparse's settings of an option, with its type and its default in the help."""
    if "metavar" in settings:
        settings["type"] = _TYPES.get(settings["metavar"], Path)
    if settings.get("choices") == "tasks":
        from align_edu.evaluation import PROTOCOLS

        settings["choices"] = list(PROTOCOLS)
        help = "; ".join(f"{name}: {protocol.about}" for name, protocol in PROTOCOLS.items())
    if settings.get("action") == "append":
        settings["default"] = []
    elif "default" in settings:
        help += f" (default {settings['default']})"
    return settings | {"help": help}


def _demo(out: Path, **options: Any) -> Answer:
    from align_edu.demo import demo_table, run_demo

    results = run_demo(out, **options)
    where = f"Report: {out / 'report.html'}\nSearch it: align-edu search {out / 'index'} 'a cat'"
    return results, f"{demo_table(results)}\n{where}"


def _world(
    out: Path, pairs: int, noise: float | None, seed: int, benchmark: bool, train: int, twins: int,
    task: str | None, against: Path | None, tsv: Path | None, workers: int | None,
) -> Answer:  # fmt: skip
    world = align_edu.World(seed) if noise is None else align_edu.World(seed, noise)
    if benchmark:
        world.write_benchmark(out, pairs, train=train, twins=twins, progress=True)
        return {"out": str(out), "scenes": pairs}, f"{pairs} scenes in {out}"
    if task is not None:
        world.write_task(out, task, test=pairs, progress=True)
        text = f"the task {task}: 800 + 200 training and {pairs} test pictures in {out}"
        return {"out": str(out), "task": task}, text
    world.write(out, pairs, workers=workers, benchmark=against, progress=True)
    if tsv is not None:
        from align_edu.pairs import write_tsv

        write_tsv(align_edu.read_pairs(out), tsv)
    return {"out": str(out), "pairs": pairs}, f"{pairs} pairs in {out}"


def _vocabulary(pairs: Path, out: Path, size: int) -> Answer:
    from align_edu.model.text_tower import save_wordpiece

    captions = align_edu.read_pairs(pairs)["caption"].drop_null()
    tokenizer = align_edu.train_wordpiece(captions.to_pylist(), size)
    path = out if out.suffix == ".json" else out / "tokenizer.json"
    save_wordpiece(tokenizer, path)
    size = tokenizer.get_vocab_size()
    return {"out": str(path), "size": size}, f"{size} word pieces in {path}"


def _pairs(folder: Path, captions: Path, out: Path) -> Answer:
    from align_edu.pairs import write_shards

    pairs, skipped = write_shards(folder, captions, out, progress=True)
    lines = [f"  skipped {count:,}: {reason}" for reason, count in skipped.most_common()]
    text = "\n".join([f"{pairs:,} pairs in {out}", *lines])
    return {"out": str(out), "pairs": pairs, "skipped": dict(skipped)}, text


def _filter(rule: list[str], **options: Any) -> Answer:
    from align_edu.filters import rules_from_text

    funnel = align_edu.filter_pairs(rules=rules_from_text(rule), **options, progress=True)
    return funnel.to_dict(), str(funnel)


def _train(preset: str | None, vocabulary: Path | None, **options: Any) -> Answer:
    from align_edu.model.text_tower import load_wordpiece
    from align_edu.training import load_preset
    from align_edu.training.metrics import read_metrics

    start, changes = options.pop("from"), options.pop("set")
    recipe = fine_tuning(load_preset(start)) if start else get_preset(preset or "toy")
    tokenizer = load_wordpiece(vocabulary) if vocabulary else None
    recipe = replace_fields(recipe, changes)
    run = align_edu.train(recipe, tokenizer=tokenizer, start=start, **options)
    row = read_metrics(run.folder)[-1]
    text = f"trained {row['step']} steps, loss {row['loss']:.3f} (floor {row['floor']:.3f})"
    answer = row | {"out": str(run.folder), "skipped": dict(run.skipped)}
    return answer, f"{text}; the run is in {run.folder}"


def _evaluate(run: Path, benchmark: str | None, task: str, **options: Any) -> Answer:
    from align_edu.evaluation import evaluate_run, result_file
    from align_edu.evaluation.embed import load_encoder

    name = options.pop("name")
    file = result_file(run, task if name is None else f"{task}-{name}")  # refuses a bad name
    encoder = load_encoder(run, options.pop("device"))
    options["own_pairs"] = options["own_pairs"] or None  # None: not given
    record, table = evaluate_run(encoder, task, benchmark, **options, progress=True)
    write_json(file, record)
    return record, table


def _index(run: Path, images: Path, out: Path, kind: str | None, device: str | None) -> Answer:
    from align_edu.evaluation.embed import load_encoder

    encoder, unfinished = load_encoder(run, device), out / ".unfinished"
    options: dict[str, Any] = {"kind": kind, "resume": unfinished, "progress": True}
    with only_writer(out):
        index = align_edu.ImageIndex.build(encoder, images, **options)
        index.save(out)
        shutil.rmtree(unfinished, ignore_errors=True)
    skipped = {str(path): reason for path, reason in index.skipped.items()}
    answer = {"out": str(out), "images": len(index), "kind": index.kind, "skipped": skipped}
    answer["left_out"] = dict(index.left_out)
    unused = Counter(index.skipped.values()) + index.left_out
    return answer, f"{len(index):,} images in {out}, {index.kind} search{_left_out(unused)}"


def _left_out(unused: Counter[str]) -> str:
    """Return a line for each reason why files were left out."""
    return "".join(f"\n  left out {count:,}: {reason}" for reason, count in unused.most_common())


def _search(index: Path, **query: Any) -> Iterator[Answer]:
    """Yield the answer or, without a query, one to each line of input until it ends or is empty."""
    from align_edu.search import ImageIndex, load_model
    from align_edu.show.report import search_answer

    opened, picture = ImageIndex.load(index), query.pop("picture") or index / "search.png"
    query["run"] = load_model(opened, query.pop("device"))
    if any(query[name] for name in ("text", "image", "plus", "minus")):
        yield search_answer(opened, picture, query)
        return
    import readline  # noqa: F401  # lets input() edit a line and recall earlier ones

    prompt = "search> " if sys.stdin.isatty() else ""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # a line that is not UTF-8 is a query too
    with suppress(EOFError):
        while text := input(prompt).strip():
            try:
                yield search_answer(opened, picture, query | {"text": text})
            except InputError as error:
                _complain(str(error), 2)


def _export(run: Path, out: Path, gallery: Path | None) -> Answer:
    from align_edu.evaluation.embed import load_encoder
    from align_edu.show.report import export_page

    encoder, unused = load_encoder(run, "cpu"), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        given = None if gallery is None else unused
        if gallery is None:
            gallery = align_edu.World().write_benchmark(Path(folder) / "scenes", 200, progress=True)
        page = export_page(encoder, gallery, out, progress=True, left_out=given)
    answer = {"page": str(page), "left_out": dict(unused)}
    return answer, f"{page}: open it in a browser{_left_out(unused)}"


def _plan(preset: str, chips: int, chip: str, text_length: int | None, **options: Any) -> Answer:
    from align_edu.planning import plan_run
    from align_edu.planning.chips import get_chip, measure_here

    recipe = replace_fields(get_preset(preset), options["set"])
    kind = measure_here(recipe) if chip == "here" else get_chip(chip)
    plan = plan_run(recipe, kind, chips, text_length=text_length)
    return plan.to_dict(), str(plan)


def _doctor() -> Answer:
    from align_edu.lab.doctor import diagnose

    findings = diagnose()
    answer = {"ok": all(f.ok for f in findings), "findings": list(map(vars, findings))}
    return answer, "\n".join(map(str, findings))


def _grade(**options: Any) -> Answer:
    from align_edu.lab.grade import grade_folder

    grades = grade_folder(**options, progress=True)
    return grades.to_dict(), str(grades)
