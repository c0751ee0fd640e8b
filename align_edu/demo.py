"""The whole main job: from noisy pairs to a trained model that searches, with a report."""

import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from align_edu.evaluation import evaluate_retrieval, result_file, result_table
from align_edu.evaluation.zero_shot import evaluate_zero_shot
from align_edu.filters import filter_pairs
from align_edu.io import holds_already, read_json, usable_cores, write_json
from align_edu.model.text_tower import load_wordpiece, save_wordpiece, train_wordpiece
from align_edu.pairs import decode_image, open_pairs, read_pairs, read_split
from align_edu.presets import Preset, get_preset
from align_edu.search import ImageIndex
from align_edu.show import Found, Sample, similarity_matrix, training_curves, write_report
from align_edu.training import train
from align_edu.training.metrics import read_metrics
from align_edu.training.recipe import Budget
from align_edu.training.run import software_versions
from align_edu.world import World
from align_edu.world.benchmark import kinds_shown, measure_kind_search

# Searches in the report, with the kind of object that a correct answer shows.
QUERIES = {
    "a cat": "cat", "two red cats in the snow": "cat", "an elephant in the desert": "elephant",
    "a blue car on the beach": "car", "a yellow fish underwater": "fish",
    "three balloons in the park": "balloon", "a drawing of a house": "house",
    "scissors": "scissors",
}  # fmt: skip
EXAMS = ("benchmark", "hard")  # the indexed benchmarks; the second has near twins
NAMED = ("object", "colour", "place")  # the facts to classify without training
NAMED_PICTURES = 600
TWINS = 4  # of each scene of the hard benchmark


def run_demo(
    out: str | Path, *, minutes: float = 4.5, seed: int = 0, pairs: int = 100_000,
    scenes: int = 1_000, preset: str = "toy", progress: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Make toy CC-3M, filter it, train ALIGN on it, measure retrieval, and search.

    out: folder for all files; an unfinished demo in it is resumed, a finished one is read.
    minutes: training time. seed: of the world and the model. pairs: raw pairs. scenes: of the
    benchmark, drawn with a seed that no training data shares.
    Returns the content of ``results.json``; ``report.html`` beside it shows the same.
    Raises InputError for bad numbers or a folder of another demo.

    Paper: Sections 3 to 5 from end to end, at toy size.
    """
    out, recipe, file = Path(out), get_preset(preset), Path(out) / "demo.json"
    made_with = {"minutes": minutes, "seed": seed, "pairs": pairs, "scenes": scenes}
    Budget(minutes=minutes), World(seed=seed)  # refuse bad numbers before anything is written
    begun = holds_already(out, file, made_with)
    if (out / "results.json").exists():  # written last
        return read_json(out / "results.json")
    record = read_json(file) if begun else {"made_with": made_with, "seconds": {}}
    write_json(file, record)
    stage = partial(_stage, file, record)
    _make_data(stage, out, recipe, made_with, progress)
    with stage("train"):
        run = train(
            recipe, [out / "filtered"], out / "run", minutes=minutes, seed=seed, resume=True,
            tokenizer=load_wordpiece(out / "tokenizer.json"), progress=progress,
        )  # fmt: skip
    with stage("evaluate"):
        measures = measure(run, out)
    write_json(result_file(out / "run", "retrieval"), measures["retrieval"])
    with stage("index"):
        index = ImageIndex.build(run, [f for e in EXAMS for f in read_split(out / e).images])
    index.save(out / "index")
    results = made_with | {"seconds": record["seconds"]} | _results(out, run, measures)
    with stage("report"):
        _report(out, run, index, results)
    write_json(out / "results.json", results)
    return results


def _make_data(stage: Any, out: Path, recipe: Preset, made: dict[str, Any], progress: bool) -> None:
    """Draw the benchmarks and the raw pairs, filter the pairs, train the vocabulary."""
    seed, scenes, side = made["seed"], made["scenes"], recipe.image.resize
    benchmark, kept = out / "benchmark", out / "filtered"
    with stage("benchmark"):
        exam = World(seed=2**32 - 1 - seed)
        exam.write_benchmark(benchmark, scenes, progress=progress)
        exam.write_benchmark(out / "hard", scenes, twins=min(TWINS, scenes - 1), progress=progress)
        size: dict[str, Any] = {"train": 0, "val": 0, "test": NAMED_PICTURES, "image_size": side}
        for task in NAMED:
            exam.write_task(out / "tasks" / task, task, **size, progress=progress)
    with stage("world"):
        world = World(seed=seed, image_size=side)
        world.write(out / "world", made["pairs"], benchmark=benchmark, progress=progress)
    if not (kept / "pairs.parquet").exists():  # written last
        with stage("filter"):
            filter_pairs(out / "world", kept, against=[benchmark], progress=progress)
    with stage("vocabulary"):
        captions = read_pairs(kept)["caption"].drop_null().to_pylist()
        tokenizer = train_wordpiece(captions, recipe.text.vocabulary_size, at_most=True)
        save_wordpiece(tokenizer, out / "tokenizer.json")


def measure(run: Any, out: Path) -> dict[str, Any]:
    """Measure retrieval on both benchmarks of a demo, zero-shot naming, and kind search."""
    return {
        "retrieval": evaluate_retrieval(run, out / "benchmark"),
        "retrieval_hard": evaluate_retrieval(run, out / "hard"),
        "zero_shot": {task: evaluate_zero_shot(run, out / "tasks" / task) for task in NAMED},
        "kind_search": measure_kind_search(run, out / "benchmark", out / "hard"),
    }


def demo_table(results: Mapping[str, Any]) -> str:
    """Return a demo's results as a table for the terminal, in percent."""
    named = results["zero_shot"].items()
    shares = {f"names the {task}": result["ensemble"]["top-1"] for task, result in named}
    shares['search for "a KIND": right of the first 10'] = results["kind_search"]["precision@10"]
    for direction in ("image_to_text", "text_to_image"):
        label = f"near twins, {direction.replace('_', ' ')}, R@1"
        shares[label] = results["retrieval_hard"][direction]["R@1"]
    lines = [f"{label:<44}{100 * share:6.1f}" for label, share in shares.items()]
    every, training = sum(results["seconds"].values()), results["seconds"]["train"]
    seconds = f"{every:.0f} seconds in total, {training:.0f} of them training."
    return "\n".join([result_table("retrieval", results["retrieval"]), *lines, seconds])


@contextmanager
def _stage(file: Path, record: dict[str, Any], name: str) -> Iterator[None]:
    """Name a stage, and keep its seconds in the demo's folder."""
    sys.stderr.write(f"{name} …\n")
    started, seconds = time.perf_counter(), record["seconds"]
    yield
    # A stage that an earlier call finished is quick now; its real time is the longer one.
    seconds[name] = max(round(time.perf_counter() - started, 1), seconds.get(name, 0.0))
    write_json(file, record)


def _results(out: Path, run: Any, measures: dict[str, Any]) -> dict[str, Any]:
    """Return the content of results.json but the settings and the seconds."""
    funnel = read_json(out / "filtered" / "funnel.json")
    last = read_metrics(run.folder)[-1]
    machine = {"system": f"{platform.system()} {platform.machine()}", "cores": usable_cores()}
    return {
        **measures,
        "pairs": {"raw": funnel["raw"], "kept": funnel["kept"], "seen": last["pairs_seen"]},
        "steps": last["step"], "loss": last["loss"], "temperature": last["temperature"],
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "versions": software_versions(), "machine": machine, "funnel": funnel,
    }  # fmt: skip


def _report(out: Path, run: Any, index: Any, results: dict[str, Any]) -> None:
    """Draw report.html from the files of the demo."""
    benchmark = read_split(out / "benchmark")
    shown = range(min(8, len(benchmark.images)))
    pictures = [decode_image(benchmark.images[i].read_bytes()) for i in shown]
    captions = [benchmark.texts[benchmark.text_to_image.index(i)] for i in shown]
    similarity = run.encode_images(pictures) @ run.encode_texts(captions).T  # (I, T)
    kinds = {exam: kinds_shown(out / exam) for exam in EXAMS}
    gallery = []
    for query, kind in QUERIES.items():
        hits = index.search(run.encode_texts([query])[0], k=6)
        images = [decode_image(hit.path.read_bytes()) for hit in hits]
        correct = [kind in kinds[hit.path.parents[1].name][hit.path.name] for hit in hits]
        gallery.append(Found(query, images, [hit.score for hit in hits], correct))
    matrix = similarity_matrix(similarity.numpy(), pictures, captions)
    training, samples = training_curves(read_metrics(run.folder)), _samples(out / "world")
    write_report(
        out / "report.html", results, samples=samples, training=training, gallery=gallery,
        similarity=matrix,
    )  # fmt: skip


def _samples(world: Path) -> list[Sample]:
    """Return six clean pairs of the first shard, and one pair of every kind of noise."""
    table = read_pairs(world / "00000.parquet")
    kinds = dict(zip(table["key"].to_pylist(), table["noise"].to_pylist(), strict=True))
    source = open_pairs([world / "00000.tar"])
    left = dict.fromkeys(kinds.values(), 1) | {"clean": 6}
    samples = []
    for i, key in enumerate(source.keys):
        if left[kinds[key]] > 0:
            left[kinds[key]] -= 1
            picture = decode_image(source.image_bytes(i))
            samples.append(Sample(picture, source.captions[i], kinds[key]))
    return sorted(samples, key=lambda sample: (sample.noise != "clean", sample.noise))
