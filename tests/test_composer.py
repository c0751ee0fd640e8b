"""The scene composer: its numbers are the model's, and its menus answer."""

import datetime

import numpy as np
import pytest

from align_edu import load_run
from align_edu.lab.composer import Composer
from align_edu.search import ImageIndex
from align_edu.world.draw import draw
from align_edu.world.scene import scene_from_facts
from tests.samples import DATA, MODEL, refused

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SCENE = {"kind": "cat", "colour": "pink", "place": "beach"}


@pytest.fixture(scope="module")
def compose():
    run = load_run(MODEL)
    return Composer(run, ImageIndex.build(run, DATA / "benchmark" / "images"))


def test_the_right_caption_comes_first_with_its_cosine_and_classes_have_their_share(
    compose, capsys
):
    run = compose.run
    figure = compose(**SCENE, words="a pink cat on the beach, a bus")
    lines = capsys.readouterr().out.splitlines()
    facts = {"weather": "clear", "count": 1, "size": "large", "style": "photo", "other_kind": ""}
    picture = draw(scene_from_facts(SCENE | facts), np.random.default_rng(0), 192)
    texts = ["a pink cat on the beach", "a bus"]
    right, other = (run.encode_texts(texts) @ run.encode_images([picture])[0]).tolist()
    assert lines[1] == f"  {right:.2f}  {texts[0]}"
    share = 1 / (1 + np.exp((other - right) / run.model.temperature().item()))
    assert lines[-1] == f"yours   {texts[0]} {share:.0%}"
    assert [line.split()[1] for line in lines[-4:-2]] == ["cat", "pink"]
    assert len(figure.axes) == 5  # the scene and the four nearest pictures


def test_each_choice_is_answered_rain_stays_outdoors_and_an_unknown_name_is_refused(
    compose, capsys
):
    compose.widget().children[0].value = "rocket"
    *_, answer = capsys.readouterr().out.split("captions by cosine\n")
    assert " rocket " in answer.splitlines()[0]
    compose(kind="dog", place="kitchen", weather="rain")
    assert "rain" not in capsys.readouterr().out
    refused("'unicorn' is none of: dog, car", compose, kind="unicorn")


def test_an_uploaded_picture_is_named_instead_of_the_drawing(compose, capsys):
    widget, file = compose.widget(), DATA / "benchmark" / "images" / "000040.jpg"  # a cat
    upload = {"name": file.name, "type": "image/jpeg", "size": 1, "last_modified": NOW}
    steps = ((0, "bus"), (-2, [upload | {"content": file.read_bytes()}]))
    for (child, value), kind in zip(steps, ("bus", "cat"), strict=True):
        widget.children[child].value = value
        assert f"\nobject  {kind} " in capsys.readouterr().out
