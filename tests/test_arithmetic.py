"""Arithmetic measured: edits change one fact, and a random model is at chance."""

import shutil
from dataclasses import asdict

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu import load_run
from align_edu.cli import main
from align_edu.search import combine_query
from align_edu.world.arithmetic import Quiz, ask, measure_arithmetic
from align_edu.world.scene import ATTRIBUTES, child_rng, distractors, is_held_out, sample_edit
from tests.samples import MODEL, refused

GENERATOR = torch.Generator().manual_seed(23)
# The fields of a scene that each edit may touch.
TOUCHED = {
    "colour": {"thing"}, "place": {"place"}, "object": {"thing"}, "weather": {"weather"},
    "style": {"style"}, "count": {"count"}, "added": {"other", "relation"},
    "removed": {"other", "relation"},
}  # fmt: skip


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_an_edit_changes_one_fact_and_says_which(attribute):
    for number in range(30):
        rng = child_rng(5, number)
        edit = sample_edit(attribute, rng)
        before, after = edit.before, edit.after
        facts = asdict(after)
        changed = {name for name, fact in asdict(before).items() if fact != facts[name]}
        assert changed == TOUCHED[attribute]
        if attribute == "colour":
            assert before.thing.kind == after.thing.kind
            assert after.thing.colour in edit.plus and before.thing.colour in edit.minus
        if attribute == "object":
            assert before.thing.colour == after.thing.colour
        assert (edit.plus == "") == (attribute == "removed")
        assert (edit.minus == "") == (attribute == "added")
        assert not is_held_out(before) and not {before, after} & set(distractors(edit, rng))


def test_a_query_is_what_combine_query_makes():
    d = 12
    image, plus, minus, gallery = (
        F.normalize(torch.randn(7, d, generator=GENERATOR), dim=1) for _ in range(4)
    )
    right = torch.eye(7, dtype=torch.bool)
    ranks = ask(Quiz(image, plus, minus, gallery, right))
    for i in range(7):
        query = combine_query([(1.0, image[i]), (2.0, plus[i]), (-2.0, minus[i])])
        cosines = gallery @ query
        assert ranks[i] == 1 + (cosines > cosines[i]).sum()


def test_ties_count_as_wrong_and_embeddings_that_are_not_finite_are_refused():
    same, right = torch.ones(4, 3), torch.eye(4, dtype=torch.bool)
    assert ask(Quiz(same, same, 0 * same, same / 3**0.5, right)).tolist() == [4, 4, 4, 4]
    broken = same.index_fill(0, torch.tensor([0]), torch.nan)
    for quiz in (Quiz(broken, same, same, same, right), Quiz(same, same, same, broken, right)):
        refused("not finite", ask, quiz)


class Random:
    def encode_images(self, pictures: list) -> Tensor:
        return F.normalize(torch.randn(len(pictures), 16, generator=GENERATOR), dim=1)

    encode_texts = encode_images


def test_a_random_model_is_at_chance_and_a_trained_one_far_above():
    for name in ("place", "colour"):
        random, trained = (
            measure_arithmetic(run, attributes=(name,), queries=40)["attributes"][name]
            for run in (Random(), load_run(MODEL))
        )
        assert random["one to one"]["success@1"] < 0.1
        assert random["chance"] == pytest.approx(1 / random["gallery"], rel=0.2)
        best = max(trained["image"]["success@1"], trained["text"]["success@1"])
        low, high = trained["one to one"]["interval"]
        assert low <= trained["one to one"]["success@1"] <= high
        assert trained["one to one"]["success@1"] > 2 * best


def test_the_command_line_measures_it_and_the_same_seed_gives_the_same(tmp_path, answer, capsys):
    run = tmp_path / "run"
    shutil.copytree(MODEL, run)
    command = ["evaluate", run, "--task", "arithmetic", "--queries", 2]
    answers = [answer(*command, *seed) for seed in ([], ["--seed", 0])]
    assert answers[0] == answers[1] and set(answers[0]["attributes"]) == set(ATTRIBUTES)
    assert main([*map(str, command[:-1]), "0"]) == 2
    assert "queries 0: give a whole number of at least 1" in capsys.readouterr().err
