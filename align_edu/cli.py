"""The front door: `align-edu COMMAND`."""

import argparse
import json
import sys
from collections.abc import Sequence

from align_edu.cli_parser import Answer, Command, build_parser
from align_edu.io import InputError, TrainingStopped


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 2 bad input, 1 anything else.

    >>> main(["vocabulary", "/nowhere", "/nowhere/out", "--size", "100"])
    2
    """
    try:
        args = build_parser(_COMMANDS).parse_args(argv)
        answer, text = args.command(args)
    except InputError as error:
        return _complain(str(error), 2)
    except TrainingStopped as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return _complain("stopped; finished work is kept, the same command goes on", 1)
    sys.stdout.write((json.dumps(answer, ensure_ascii=False) if args.json else text) + "\n")
    return 0


def _complain(message: str, status: int) -> int:
    sys.stderr.write(f"align-edu: {' '.join(message.split())}\n")
    return status


def _demo(args: argparse.Namespace) -> Answer:
    from align_edu.demo import demo_table, run_demo

    results = run_demo(
        args.out, minutes=args.minutes, seed=args.seed, pairs=args.pairs, scenes=args.scenes
    )
    seconds = sum(results["seconds"].values())
    text = (
        f"{demo_table(results)}\n"
        f"{seconds:.0f} seconds in all, {results['seconds']['train']:.0f} of them training.\n"
        f"Report: {args.out / 'report.html'}\n"
        f"Search it yourself: align-edu search {args.out / 'index'} 'a cat'"
    )
    return results, text


def _world(args: argparse.Namespace) -> Answer:
    from align_edu.world import World

    if args.benchmark:
        out = World(seed=args.seed).write_benchmark(
            args.out, args.pairs, train=args.train, twins=args.twins, progress=True
        )
        return {"out": str(out), "scenes": args.pairs}, f"{args.pairs} scenes in {out}"
    if args.task is not None:
        World(seed=args.seed).write_task(args.out, args.task, test=args.pairs, progress=True)
        text = f"the task {args.task}: 800 + 200 training and {args.pairs} test pictures"
        return {"out": str(args.out), "task": args.task}, f"{text} in {args.out}"
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
    from align_edu.model.wordpiece import save_wordpiece, train_wordpiece
    from align_edu.pairs import read_pairs

    texts = read_pairs(args.pairs)["caption"].to_pylist()
    tokenizer = train_wordpiece([text for text in texts if text], args.size)
    path = args.out if args.out.suffix == ".json" else args.out / "tokenizer.json"
    save_wordpiece(tokenizer, path)
    size = tokenizer.get_vocab_size()
    return {"out": str(path), "size": size}, f"{size} word pieces in {path}"


def _train(args: argparse.Namespace) -> Answer:
    from align_edu.model.wordpiece import load_wordpiece
    from align_edu.presets import fine_tuning, get_preset, replace_fields
    from align_edu.training import load_preset, train
    from align_edu.training.metrics import read_metrics

    if args.start and args.preset:
        raise InputError(f"--preset {args.preset}: --from {args.start} has its own; give one")
    preset = (
        fine_tuning(load_preset(args.start)) if args.start else get_preset(args.preset or "toy")
    )
    run = train(
        replace_fields(preset, dict(_change(text) for text in args.set)),
        args.data,
        args.out,
        steps=args.steps,
        minutes=args.minutes,
        seed=args.seed,
        resume=args.resume,
        tokenizer=load_wordpiece(args.vocabulary) if args.vocabulary else None,
        start=args.start,
        device=args.device,
        processes=args.processes,
        tensorboard=args.tensorboard,
    )
    row = read_metrics(run.folder)[-1]
    text = f"trained {row['step']} steps, loss {row['loss']:.3f} (floor {row['floor']:.3f})"
    return row | {"out": str(run.folder)}, f"{text}; the run is in {run.folder}"


def _evaluate(args: argparse.Namespace) -> Answer:
    from align_edu.evaluation import write_result
    from align_edu.evaluation.protocols import evaluate_run
    from align_edu.training import load_run

    options = {
        name: getattr(args, name)
        for name in ("split", "templates", "ratings", "own_pairs", "queries", "epochs", "seed")
    }
    run = load_run(args.run)
    record, table = evaluate_run(run, args.task, args.benchmark, progress=True, **options)
    name = args.task if args.name is None else f"{args.task}-{args.name}"
    write_result(args.run, name, record)
    return record, table


def _index(args: argparse.Namespace) -> Answer:
    from align_edu.search import ImageIndex
    from align_edu.training import load_run

    index = ImageIndex.build(load_run(args.run), args.images, kind=args.kind, progress=True)
    index.save(args.out)
    skipped = {str(path): reason for path, reason in index.skipped.items()}
    text = f"{len(index)} images indexed in {args.out} for {index.kind} search"
    text += f"; {len(skipped)} could not be read" if skipped else ""
    answer = {"out": str(args.out), "images": len(index), "kind": index.kind, "skipped": skipped}
    return answer, text


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


def _plan(args: argparse.Namespace) -> Answer:
    from align_edu.planning.chips import get_chip
    from align_edu.planning.here import measure_here
    from align_edu.planning.plan import plan_run
    from align_edu.presets import get_preset, replace_fields
    from align_edu.training.machine import keep_freed_memory

    preset = replace_fields(get_preset(args.preset), dict(_change(text) for text in args.set))
    if args.chip == "here":
        keep_freed_memory()  # as training does
        chip = measure_here(preset)
    else:
        chip = get_chip(args.chip)
    plan = plan_run(preset, chip, args.chips, text_length=args.text_length)
    return plan.to_dict(), str(plan)


def _doctor(args: argparse.Namespace) -> Answer:
    from align_edu.lab.doctor import diagnose, report

    findings = diagnose()
    rows = [vars(finding) for finding in findings]
    return {"ok": all(f.ok for f in findings), "findings": rows}, report(findings)


def _grade(args: argparse.Namespace) -> Answer:
    from align_edu.lab.grade import grade_folder, summary

    names = ("seconds", "megabytes", "workers", "unprotected", "exercises")
    options = {name: getattr(args, name) for name in names}
    grades = grade_folder(args.folder, args.seed, args.out, **options, progress=True)
    return grades.to_dict(), summary(grades)


def _change(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: write it as part.field=value, as in recipe.batch_size=64")
    return name, value


_COMMANDS: dict[str, Command] = {
    "demo": _demo,
    "world": _world,
    "filter": _filter,
    "vocabulary": _vocabulary,
    "train": _train,
    "evaluate": _evaluate,
    "index": _index,
    "search": _search,
    "plan": _plan,
    "doctor": _doctor,
    "grade": _grade,
}
