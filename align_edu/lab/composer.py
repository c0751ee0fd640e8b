"""The scene composer: you choose what a picture shows, it is drawn, and a model looks at it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from align_edu.evaluation.zero_shot import class_vectors
from align_edu.pairs.images import BrokenImage, decode_image, find_images
from align_edu.search.index import ImageIndex
from align_edu.show import picture_grid
from align_edu.show.style import Picture
from align_edu.training.run import Run
from align_edu.world import catalog
from align_edu.world.draw import draw
from align_edu.world.scene import Scene, edited, scene_from_facts
from align_edu.world.tasks import TASKS

ASKED = ("object", "colour", "place")  # what the model is asked to name
CHANGED = ("colour", "object", "place", "count")  # facts that a wrong caption gets wrong
SIDE = 192  # pixels of the drawn picture


class Composer:
    """Draws a scene of your choice, and shows what a model makes of it.

    run: a trained model. index: pictures of which the nearest are shown; None: no search.
    Calling it with facts of the scene prints the captions by their cosine and the most likely
    classes, and returns a figure; `widget` does so whenever a choice changes.

    >>> from align_edu.training.run import load_run
    >>> compose = Composer(load_run("data_samples/toy_model"))
    >>> figure = compose(kind="cat", colour="red", place="beach")  # doctest: +ELLIPSIS
    captions by cosine
      0...  a red cat on the beach...
    """

    def __init__(self, run: Run, index: ImageIndex | None = None) -> None:
        self.run, self.index = run, index
        self._classes = {task: list(TASKS[task].classes.values()) for task in ASKED}
        self._vectors = {
            task: class_vectors(run, names, TASKS[task].templates)
            for task, names in self._classes.items()
        }

    def __call__(
        self, kind: str = "cat", colour: str = "red", place: str = "beach", weather: str = "clear",
        count: int = 1, words: str = "", seed: int = 0, own: Image.Image | None = None,
    ) -> Picture:  # fmt: skip
        """Draw the scene, print what the model says of it, and return the figure.

        kind, colour, place, weather: names of `align_edu.world.catalog`; the weather counts only
        outdoors. count: 1 to 4. words: classes of your own, separated by commas. seed: of the
        layout and of the wrong captions. own: a picture that is looked at instead of a drawing.
        Raises InputError for a name that does not exist.
        """
        facts = {"kind": kind, "colour": colour, "place": place, "weather": weather}
        facts |= {"size": "large", "style": "photo", "other_kind": ""}
        scene = scene_from_facts(facts | {"count": count})
        if not catalog.PLACES[place].outdoor:
            scene = replace(scene, weather="clear")
        rng = np.random.default_rng(seed)
        picture = own or draw(scene, rng, SIDE)
        vector = self.run.encode_images([picture])[0]
        others = [edited(fact, scene, rng) for fact in CHANGED]
        texts = list(dict.fromkeys(words_for(each) for each in (scene, *others) if each))
        cosines = self.run.encode_texts(texts) @ vector
        print("captions by cosine")
        for place_in_list in cosines.argsort(descending=True).tolist():
            print(f"  {cosines[place_in_list]:.2f}  {texts[place_in_list]}")
        for task, vectors in self._vectors.items():
            print(f"{task:7} {self._likely(self._classes[task], vectors @ vector)}")
        if names := [word.strip() for word in words.split(",") if word.strip()]:
            print(f"yours   {self._likely(names, self.run.encode_texts(names) @ vector)}")
        pictures, labels = [picture], ["your picture" if own else "your scene"]
        for hit in self.index.search(vector, 4) if self.index else []:
            pictures.append(Image.open(hit.path))
            labels.append(f"cosine {hit.score:.2f}")
        return picture_grid(pictures, labels, columns=5)

    def _likely(self, names: list[str], cosines: torch.Tensor) -> str:
        """Return the most likely classes, by the softmax at the model's own temperature."""
        shares = torch.softmax(cosines / self.run.model.temperature().item(), dim=0)
        best = zip(*(each.tolist() for each in shares.topk(min(3, len(names)))), strict=True)
        return ", ".join(f"{names[i]} {share:.0%}" for share, i in best if share >= 0.01)

    def widget(self) -> Any:
        """Return menus for the facts of a scene; each choice is drawn and answered at once."""
        import ipywidgets as widgets
        from IPython.display import display

        menus: dict[str, Any] = {
            "kind": list(catalog.KINDS), "colour": list(catalog.COLOURS),
            "place": list(catalog.PLACES), "weather": list(catalog.WEATHER),
            "count": widgets.IntSlider(1, min(catalog.COUNTS), max(catalog.COUNTS)),
            "words": widgets.Text("", continuous_update=False, description="classes"),
            "seed": widgets.IntSlider(0, 0, 20, description="layout"),
            "own": widgets.FileUpload(accept="image/*", description="own picture"),
            "folder": widgets.Text("", continuous_update=False),
        }  # fmt: skip

        def answer(**chosen: Any) -> None:
            # Of a folder's pictures, the layout's number chooses one.
            if mine := own_pictures(chosen.pop("own"), chosen.pop("folder")):
                chosen["own"] = mine[chosen["seed"] % len(mine)]
            display(self(**chosen))

        return widgets.interactive(answer, **menus)


def own_pictures(files: Iterable[Mapping[str, Any]], folder: str = "") -> list[Image.Image]:
    """Return the pictures of a FileUpload's value, then a folder's, as `align-edu index` reads it.

    Pictures that cannot be read are left out; a folder that does not exist holds none.
    """
    found = find_images(Path(folder).expanduser(), Counter()) if folder else []
    contents = [bytes(file["content"]) for file in files] + [file.read_bytes() for file in found]
    pictures = []
    for content in contents:
        with suppress(BrokenImage):
            pictures.append(decode_image(content))
    return pictures


def words_for(scene: Scene) -> str:
    """Return a plain caption with the scene's count, colour, kind, place and weather.

    >>> from align_edu.world.scene import sample_scene
    >>> words_for(sample_scene(np.random.default_rng(1)))
    'a white clock in the mountains'
    """
    one, several = catalog.NOUNS[scene.thing.kind][0]
    if scene.count == 1:
        thing = catalog.with_article(f"{scene.thing.colour} {one}")
    else:
        thing = f"{catalog.COUNT_WORDS[scene.count][0]} {scene.thing.colour} {several}"
    weather = catalog.WEATHER_PHRASES.get(scene.weather, ("",))[0]
    return f"{thing} {catalog.PLACE_PHRASES[scene.place][0]} {weather}".strip()
