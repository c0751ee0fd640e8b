"""The report of a run: one file that anyone can open, with all its pictures inside."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from align_edu.io import written_whole
from align_edu.show.figures import funnel_bars, recall_bars
from align_edu.show.page import card, cards, drawn, page, section, table, tiles


@dataclass(frozen=True)
class Sample:
    """A raw pair to show: its picture, its alt-text, and the kind of its noise or "clean"."""

    image: Image.Image
    caption: str
    noise: str


@dataclass(frozen=True)
class Found:
    """A search to show: its words, and the pictures it found with their scores.

    `correct` says of each picture whether it is the one that the words describe.
    """

    query: str
    images: Sequence[Image.Image]
    scores: Sequence[float]
    correct: Sequence[bool]


def write_report(
    path: str | Path,
    results: Mapping[str, Any],
    *,
    samples: Sequence[Sample] = (),
    training: Figure | None = None,
    gallery: Sequence[Found] = (),
    similarity: Figure | None = None,
) -> Path:
    """Write report.html: one page without links or scripts. What is not given is left out.

    Parameters
    ----------
    path : the file, written whole or not at all.
    results : the demo's results.json: `retrieval` (see `evaluate_retrieval`), `seconds` (stage
        -> seconds), `pairs` (`raw`, `kept`, `seen`), `parameters`, `temperature`, `seed`,
        `versions`, `machine`, and `funnel` (see `Funnel.to_json`).
    samples, gallery : raw pairs with their noise, and searches in the benchmark.
    training, similarity : the figures of `training_curves` and `similarity_matrix`.

    Returns the file. Raises InputError when it cannot be written.

    >>> import tempfile
    >>> path = write_report(Path(tempfile.mkdtemp()) / "report.html", {"temperature": 0.07})
    >>> "<h1>" in path.read_text(encoding="utf-8")
    True
    """
    parts = [_head(results), _headline(results), _funnel(results), _samples(samples)]
    parts += [_training(training), _recall(results), _names(results), _gallery(gallery)]
    parts += [_similarity(similarity), _details(results)]
    text = page("ALIGN on toy CC-3M", filter(None, parts))
    with written_whole(Path(path)) as beside:
        beside.write_text(text, encoding="utf-8")
    return Path(path)


def _head(results: Mapping[str, Any]) -> str:
    seed = f" Seed {results['seed']}." if "seed" in results else ""
    return (
        "<h1>From noisy pairs to a searching model</h1>"
        '<p class="quiet">Two towers, trained from scratch on pictures and their raw alt-text,'
        f" as in the ALIGN paper, at toy size.{html.escape(seed)}</p>"
    )


def _headline(results: Mapping[str, Any]) -> str:
    values: list[tuple[str, str]] = []
    if "retrieval" in results:
        for direction in ("image_to_text", "text_to_image"):
            recall = results["retrieval"][direction]["R@1"]
            values.append((f"{100 * recall:.1f} %", f"R@1 {direction.replace('_', ' ')}"))
    if "zero_shot" in results:
        share = results["zero_shot"]["object"]["ensemble"]["top-1"]
        values.append((f"{100 * share:.1f} %", "objects named"))
    if "seconds" in results:
        values.append((_duration(sum(results["seconds"].values())), "in all"))
        if "train" in results["seconds"]:
            values.append((_duration(results["seconds"]["train"]), "of training"))
    if "pairs" in results:
        values.append((f"{results['pairs']['kept']:,}", "pairs kept"))
    if "parameters" in results:
        values.append((f"{results['parameters'] / 1e6:.2f} M", "parameters"))
    if "temperature" in results:
        values.append((f"{results['temperature']:.4f}", "temperature σ at the end"))
    return tiles(values)


def _funnel(results: Mapping[str, Any]) -> str:
    funnel = results.get("funnel")
    if funnel is None:
        return ""
    rows = [["raw pairs", "", f"{funnel['raw']:,}", ""]]
    for step in funnel["steps"]:
        if step["applied"]:
            left = step["pairs_in"] - step["dropped"]
            share = step["dropped"] / max(step["pairs_in"], 1)
            rows.append([step["says"], f"{step['dropped']:,}", f"{left:,}", f"{100 * share:.1f} %"])
        else:
            rows.append([f"{step['says']} (not applied: {step['note']})", "–", "–", "–"])
    return section(
        "The funnel",
        f"The filters of the paper's Section 3 kept {funnel['kept']:,} of {funnel['raw']:,} pairs."
        " Each rule sees what the one before it left.",
        table(["pairs that go", "dropped", "left", "share"], rows, numbers=3),
        drawn(funnel_bars(funnel), "Bars: pairs left after each filter"),
    )


def _samples(samples: Sequence[Sample]) -> str:
    if not samples:
        return ""
    shown = []
    for sample in samples:
        kind = "mark" if sample.noise == "clean" else "mark noise"
        mark = f'<span class="{kind}">{html.escape(sample.noise.replace("_", " "))}</span>'
        caption = f"{mark}<br>{html.escape(sample.caption)}"
        shown.append(card(sample.image, sample.caption, caption))
    return section(
        "Raw pairs",
        "Pictures with their alt-text as it comes, and the noise in it. On the real web nobody"
        " knows which pairs are noise; here the truth is recorded.",
        cards(shown),
    )


def _training(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return section(
        "Training",
        "The loss lies between 2 ln N, where a model that knows nothing is, and the floor that"
        " label smoothing sets. The temperature σ is learned with the weights.",
        drawn(figure, "Curves: loss with its floor and chance level, and the temperature"),
    )


def _recall(results: Mapping[str, Any]) -> str:
    result = results.get("retrieval")
    if result is None:
        return ""
    parts = [("", result)]
    lead = "The share of queries whose right answer is among the first k"
    if "images" in result:
        lead += f", in {result['images']:,} images and {result['texts']:,} texts never trained on"
    lead += ". A tie counts against the model."
    if "held_out" in result:
        parts.append((", held-out compositions", result["held_out"]))
        lead += (
            f" {result['held_out']['images']:,} of the scenes pair an object with a colour"
            " that it never has in training."
        )
    names = list(result["image_to_text"])
    rows = [
        [direction.replace("_", " ") + label, *(f"{100 * part[direction][k]:.1f} %" for k in names)]
        for label, part in parts
        for direction in ("image_to_text", "text_to_image")
    ]
    figure = drawn(recall_bars(result), "Bars: recall at k in both directions")
    return section("Retrieval", lead, table(["query", *names], rows, len(names)), figure)


def _names(results: Mapping[str, Any]) -> str:
    """Accuracy with prompts, precision of searches for kinds, recall among near twins."""
    rows: list[list[str]] = []
    for task, result in results.get("zero_shot", {}).items():
        shares = (result["single"]["top-1"], result["ensemble"]["top-1"], result["chance"])
        cells = [f"{100 * share:.1f} %" for share in shares]
        rows.append([f"{task}, of {len(result['classes'])}", *cells])
    if not rows:
        return ""
    kinds = results["kind_search"]["precision@10"]
    hard = [
        f"{100 * results['retrieval_hard'][way]['R@1']:.1f} %"
        for way in ("image_to_text", "text_to_image")
    ]
    return section(
        "Naming and finding",
        "The class whose prompt is nearest to the picture, without any training on labels: with"
        ' one prompt, with the mean of many, and by chance. A search for "a KIND" finds that kind'
        f" in {100 * kinds:.1f} % of its first ten pictures, on average over the kinds. Among near"
        f" twins, scenes that differ in one fact, R@1 is {hard[0]} image to text and {hard[1]}"
        " text to image.",
        table(["what is named", "one prompt", "many prompts", "chance"], rows, numbers=3),
    )


def _gallery(gallery: Sequence[Found]) -> str:
    if not gallery:
        return ""
    parts = []
    for found in gallery:
        shown = [
            card(image, f"result {rank}", f"{'✓ ' if right else ''}{score:.2f}", right)
            for rank, (image, score, right) in enumerate(
                zip(found.images, found.scores, found.correct, strict=True), start=1
            )
        ]
        parts.append(f"<h3>{html.escape(found.query)}</h3>{cards(shown)}")
    return section(
        "Searching with words",
        "The most similar pictures, with their cosine. ✓ marks those that show the kind of object"
        " that the query names.",
        *parts,
    )


def _similarity(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return section(
        "Images against texts",
        "Cosines of pictures and texts. The framed ones belong together and should be the"
        " largest of their row and of their column.",
        drawn(figure, "Matrix: cosines of images and texts"),
    )


def _details(results: Mapping[str, Any]) -> str:
    rows = [[f"time: {stage}", _duration(s)] for stage, s in results.get("seconds", {}).items()]
    rows += [[f"pairs: {name}", f"{n:,}"] for name, n in results.get("pairs", {}).items()]
    machine = results.get("machine", {})
    if not isinstance(machine, Mapping):
        machine = {"machine": machine}
    rows += [[str(name), str(value)] for name, value in machine.items()]
    rows += [[str(name), str(version)] for name, version in results.get("versions", {}).items()]
    if not rows:
        return ""
    return section("Details", "What the numbers above depend on.", table(["", ""], rows, 1))


def _duration(seconds: float) -> str:
    """Seconds in words for people.

    >>> _duration(3.21), _duration(192)
    ('3.2 s', '3 min 12 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
