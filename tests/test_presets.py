"""Presets: the paper's numbers, their checks, and their way through JSON and --set."""

import dataclasses
import json
from functools import partial

import pytest

from align_edu.io import InputError
from align_edu.presets import (
    IMAGE_SIZES,
    PRESETS,
    TEXT_SIZES,
    ImageSettings,
    LossSettings,
    Recipe,
    TextSettings,
    get_preset,
    preset_from_dict,
    replace_fields,
)

TOY = get_preset("toy")


def test_the_presets_hold_the_papers_numbers():
    paper = get_preset("l2_large")
    assert (paper.image.resize, paper.image.crop, paper.text.max_length) == (346, 289, 64)
    assert (paper.loss.temperature, paper.loss.label_smoothing) == (1.0, 0.1)
    assert (paper.recipe.optimizer, paper.recipe.weight_decay) == ("lamb", 1e-5)
    assert (paper.recipe.learning_rate, paper.recipe.batch_size) == (1e-3, 1024 * 16)
    assert (paper.recipe.steps, paper.recipe.warmup * paper.recipe.steps) == (1_200_000, 10_000)
    assert get_preset("cc3m").recipe.steps == paper.recipe.steps // 10  # Section 6.2
    assert paper.text.vocabulary_size == 100_000
    # 346 to 289 and 58 to 48 are the same ratio, to the nearest pixel.
    assert round(TOY.image.crop * 346 / 289) in (TOY.image.resize - 1, TOY.image.resize)


@pytest.mark.parametrize(
    ("name", "image", "text", "projection", "padding", "group"),
    [
        ("toy", None, None, None, "symmetric", None),
        ("cc3m", "B3", "mini", 640, "same", 16),
        ("b5_base", "B5", "base", 640, "same", 16),
        ("b7_base", "B7", "base", None, "tf_static", 16),
        ("l2_large", "L2", "large", None, "same", 16),
    ],
)
def test_each_preset_has_its_towers(name, image, text, projection, padding, group):
    preset = PRESETS[name]
    if image:
        size = IMAGE_SIZES[image]
        assert (preset.image.width, preset.image.depth) == (size.width, size.depth)
        assert preset.text.layers == TEXT_SIZES[text].layers
    assert (preset.image.projection, preset.image.padding) == (projection, padding)
    # The paper does not say over how many pairs BatchNorm ran; 16 is COYO-ALIGN's.
    assert preset.image.ghost_batch == group


def test_a_preset_survives_the_way_through_json():
    for preset in PRESETS.values():
        assert preset_from_dict(json.loads(json.dumps(preset.to_dict()))) == preset
    values = TOY.to_dict()
    del values["loss"]["cores"]  # as in older runs
    assert preset_from_dict(values) == TOY


@pytest.mark.parametrize("change", ["missing", "unknown", "no part", "a number"])
def test_a_configuration_with_other_fields_is_refused(change):
    values = TOY.to_dict()
    if change == "missing":  # the default of a field may not be what the run was trained with
        del values["image"]["padding"]
    elif change == "unknown":
        values["recipe"]["speed"] = 3
    else:
        values["loss"] = 3 if change == "a number" else {}
    with pytest.raises(InputError, match="config.json: not a preset of this version"):
        preset_from_dict(values)


def test_a_changed_field_is_read_as_json_and_whole_floats_become_floats():
    changed = replace_fields(TOY, {"recipe.learning_rate": "1", "image.projection": "64"})
    assert changed.recipe.learning_rate == 1.0 and type(changed.recipe.learning_rate) is float
    assert changed.image.projection == 64
    assert replace_fields(changed, {"image.projection": "null"}).image.projection is None
    assert replace_fields(TOY, {"loss.kind": "sigmoid"}).loss.kind == "sigmoid"


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        (LossSettings, "learned", 1),
        (ImageSettings, "padding", "valid"),
        (ImageSettings, "width", "4"),
        (TextSettings, "layers", True),
        (TextSettings, "dropout", 1.0),
        (Recipe, "optimizer", "adam"),
        (Recipe, "warmup", float("nan")),
    ],
)
def test_every_field_is_checked_when_settings_are_made(settings, field, value):
    for make in (settings, partial(dataclasses.replace, settings())):
        with pytest.raises(InputError, match=rf"{settings.part}\.{field}: .* is not allowed"):
            make(**{field: value})
