"""The tiny stand-in for the released weights: an AlignModel's folder, the same each time."""

import pytest
import torch
from PIL import Image
from transformers import AlignModel, AlignProcessor

from align_edu.hub.align_model import load_hf
from align_edu.io import InputError
from align_edu.lab.stand_ins import tiny_hf

TEXTS = ["a red cat", "two dogs"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_hf(tmp_path_factory.mktemp("tiny") / "align-tiny")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tiny, tmp_path):
    before = torch.get_rng_state()
    again, other = tiny_hf(tmp_path / "again"), tiny_hf(tmp_path / "other", seed=1)
    assert torch.equal(before, torch.get_rng_state())
    weights = [(folder / "model.safetensors").read_bytes() for folder in (tiny, again, other)]
    assert weights[0] == weights[1] != weights[2]


def test_it_has_the_released_weights_conventions(tiny):
    run = load_hf(tiny)
    image, text = run.preset.image, run.preset.text
    assert (image.crop % 32, image.padding, text.pooler) == (1, "tf_static", True)
    assert image.resize == round(image.crop * 346 / 289)
    assert run.model.temperature().item() == pytest.approx(0.05)
    assert run.model.text_tower.bert.pooler.dense.weight.any()


def test_transformers_computes_the_same_from_its_files(tiny):
    run, theirs = load_hf(tiny), AlignModel.from_pretrained(tiny).eval()
    words = AlignProcessor.from_pretrained(tiny)(text=TEXTS, return_tensors="pt")
    pixels = torch.rand(2, 3, 65, 65, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        out = theirs(pixel_values=pixels, **words)
        # In float64: random towers make much of float32's rounding, which threads change.
        theirs_exact = theirs.double()(pixel_values=pixels.double(), **words).image_embeds
        image = run.model.double().encode_image(pixels.double())
    assert (image - theirs_exact).abs().max() <= 1e-9
    run.model.float()
    assert (run.encode_texts(TEXTS) - out.text_embeds).abs().max() <= 1e-5


def test_it_tells_pictures_and_texts_apart(tiny):
    run = load_hf(tiny)
    pictures = [Image.new("RGB", (80, 60), colour) for colour in ("red", "blue", "white")]
    for vectors in (run.encode_images(pictures), run.encode_texts([*TEXTS, "snow"])):
        cosines = vectors @ vectors.T
        assert cosines[~torch.eye(3, dtype=torch.bool)].max() < 0.999


def test_a_folder_that_holds_something_is_left_alone(tiny):
    with pytest.raises(InputError, match="exists and is not empty"):
        tiny_hf(tiny)
