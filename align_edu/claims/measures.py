"""What is measured of every run: a hit or a miss for each query, so that runs can be paired."""

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from align_edu.evaluation.cxc import evaluate_cxc
from align_edu.evaluation.datasets import LabelledImages, embed_labelled, read_labelled
from align_edu.evaluation.embed import embed_texts
from align_edu.evaluation.retrieval import embed_gallery, retrieval_ranks
from align_edu.evaluation.zero_shot import class_ranks, class_vectors, neighbour_ranks
from align_edu.pairs import read_split
from align_edu.training.metrics import read_metrics
from align_edu.training.run import Run
from align_edu.world import World
from align_edu.world.arithmetic import ask, make_quiz
from align_edu.world.catalog import NOUNS

EXAM_SEED = 2**32 - 1
PICTURES, TWINS = 2_000, 4  # 400 scenes, each with four that differ from it in one fact
TASKS = ("object", "colour", "place")
TRAINING_PICTURES, TASK_PICTURES = 800, 600
HEAD = TAIL = 10  # kinds that are called common and rare, of the list by frequency
SIDES = (40, 48, 60, 72)  # pixels that a picture is resized to at test time; training has 48
QUERIES = 100  # of each kind of image ± text query
WEIGHTS = {  # of text and image in a query
    "both": (1.0, 1.0), "both_2_1": (2.0, 1.0), "image_only": (0.0, 1.0), "text_only": (1.0, 0.0),
}  # fmt: skip
WAYS = ("image_to_text", "text_to_image", "text_to_text", "image_to_image")


def write_exam(folder: Path) -> None:
    """Write the benchmark and the tasks that every run is measured on; existing ones stay."""
    world = World(seed=EXAM_SEED)
    world.write_benchmark(folder / "benchmark", PICTURES, twins=TWINS, progress=True)
    for task in TASKS:
        train = TRAINING_PICTURES if task == "object" else 0
        out = folder / task
        world.write_task(out, task, train=train, val=0, test=TASK_PICTURES, progress=True)


def measure(run: Run, exam: Path) -> dict[str, str | float]:
    """Return every measure of a run: a string of 1 and 0 by query, or one number.

    twins: near twins, first answers both ways; seen and held_out: of text queries for
    compositions that training shows and never shows. object, colour, place: zero-shot;
    one_prompt: object with one prompt; common and rare: object, kinds at the head and the tail;
    side_N: object at N pixels. neighbours: the nearest of 800 pictures shows the same kind.
    both, both_2_1, image_only, text_only: image plus text at weights 1 : 1 and 1 : 2, or one
    alone; removed and kept: image minus the words for its second object, and the image alone.
    image_to_image and so on: CxC's recall at 1. sigma, sigma_best: ln of σ at the end, and of the
    σ at which the loss is lowest. loss, floor: at the end.

    Paper: Sections 5.1, 6.1 and 7.
    """
    row = read_metrics(run.folder)[-1]
    cxc = evaluate_cxc(run, exam / "benchmark")
    found: dict[str, str | float] = {way: cxc[way]["R@1"] for way in WAYS}
    found |= {"sigma": math.log(row["temperature"]), "loss": row["loss"], "floor": row["floor"]}
    if row["best_temperature"] > 0:  # there is none before the pairs stand out
        found["sigma_best"] = math.log(row["best_temperature"])
    return found | _retrieval(run, exam / "benchmark") | _naming(run, exam) | _sums(run)


def _retrieval(run: Run, folder: Path) -> dict[str, str]:
    split = read_split(folder)
    images, texts = embed_gallery(run, split), embed_texts(run, split.texts)
    ranks = retrieval_ranks(images, texts, split.text_to_image)
    first = [split.text_to_image.index(i) for i in range(len(split.images))]
    by_text = ranks["text_to_image"][first]  # the first caption of each picture asks
    held_out = torch.tensor(split.held_out, dtype=torch.bool)
    return {
        "twins": _hits(torch.cat([ranks["image_to_text"], by_text])),
        "held_out": _hits(by_text[held_out]),
        "seen": _hits(by_text[~held_out]),
    }


def _naming(run: Run, exam: Path) -> dict[str, str]:
    tests = {task: read_labelled(exam / task, "test") for task in TASKS}
    embedded = {task: embed_labelled(run, data) for task, data in tests.items()}
    found = {task: _named(run, data, embedded[task]) for task, data in tests.items()}
    data, images = tests["object"], embedded["object"]
    train = read_labelled(exam / "object", "train")
    nearest = neighbour_ranks(embed_labelled(run, train), train.labels, images, data.labels)
    found["neighbours"] = _hits(nearest)
    found["one_prompt"] = _named(run, data, images, prompts=1)
    by_frequency = [names[0][0] for names in NOUNS.values()]
    for name, kinds in (("common", by_frequency[:HEAD]), ("rare", by_frequency[-TAIL:])):
        pairs = zip(found["object"], data.labels.tolist(), strict=True)
        found[name] = "".join(hit for hit, label in pairs if data.classes[label] in kinds)
    image = run.preset.image
    for side in SIDES:
        larger = replace(image, resize=side, crop=round(side * image.crop / image.resize))
        sized = replace(run, preset=replace(run.preset, image=larger))
        found[f"side_{side}"] = _named(sized, data, embed_labelled(sized, data))
    return found


def _named(run: Run, data: LabelledImages, images: Tensor, prompts: int | None = None) -> str:
    vectors = class_vectors(run, data.classes, data.templates[:prompts])
    return _hits(class_ranks(images, vectors, data.labels))


def _sums(run: Run) -> dict[str, str]:
    quizzes = [make_quiz(run, fact, QUERIES, EXAM_SEED) for fact in (*TASKS, "removed")]
    found = {
        name: "".join(_hits(ask(q, text=text, image=image, minus=False)) for q in quizzes[:-1])
        for name, (text, image) in WEIGHTS.items()
    }
    return found | {"removed": _hits(ask(quizzes[-1])), "kept": _hits(ask(quizzes[-1], text=0.0))}


def _hits(ranks: Tensor) -> str:
    """Return a string with 1 for each query whose first answer is right, else 0."""
    return "".join(str(int(rank == 1)) for rank in ranks.tolist())
