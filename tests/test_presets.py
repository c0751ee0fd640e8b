"""Presets: the paper's numbers, their checks, and their way through JSON and --set."""

import json

import pytest

from align_edu.presets import (
    IMAGE_SIZES,
    PRESETS,
    TEXT_SIZES,
    get_preset,
    preset_from_dict,
    replace_fields,
)
from tests.samples import refused

TOY = get_preset("toy")


TOWERS = {"cc3m": ("B3", "mini"), "b5_base": ("B5", "base"), "b7_base": ("B7", "base")}


@pytest.mark.parametrize(("name", "towers"), [*TOWERS.items(), ("l2_large", ("L2", "large"))])
def test_each_preset_has_its_towers(name, towers):
    preset, size = PRESETS[name], IMAGE_SIZES[towers[0]]
    assert (preset.image.width, preset.image.depth) == (size.width, size.depth)
    assert preset.text.layers == TEXT_SIZES[towers[1]].layers
    # The paper does not say over how many pairs BatchNorm ran; 16 is COYO-ALIGN's.
    assert preset.image.ghost_batch == 16


def test_a_preset_survives_the_way_through_json():
    for preset in PRESETS.values():
        assert preset_from_dict(json.loads(json.dumps(preset.to_dict()))) == preset
    values = TOY.to_dict()
    del values["loss"]["cores"]  # as in older runs
    assert preset_from_dict(values) == TOY


VALUES = TOY.to_dict()
# The default of a missing field may not be what the run was trained with.
UNPADDED = {name: value for name, value in VALUES["image"].items() if name != "padding"}


@pytest.mark.parametrize(
    "change",
    [{"image": UNPADDED}, {"recipe": VALUES["recipe"] | {"speed": 3}}, {"loss": {}}, {"loss": 3}],
)
def test_a_configuration_with_other_fields_is_refused(change):
    refused("config.json: not a preset of this version", preset_from_dict, VALUES | change)


def test_a_changed_field_is_read_as_json_and_whole_floats_become_floats():
    changed = replace_fields(TOY, {"recipe.learning_rate": "1", "image.projection": "64"})
    assert changed.recipe.learning_rate == 1.0 and type(changed.recipe.learning_rate) is float
    assert changed.image.projection == 64
    assert replace_fields(changed, {"image.projection": "null"}).image.projection is None
    assert replace_fields(TOY, {"loss.kind": "sigmoid"}).loss.kind == "sigmoid"
