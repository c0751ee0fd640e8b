"""Evaluation and search take a run or a folder of AlignModel, on a GPU if there is one."""

import json

import pytest
import torch

from align_edu import load_hf
from align_edu.cli import main
from align_edu.evaluation import embed, evaluate_retrieval
from align_edu.evaluation.embed import load_encoder
from align_edu.io import InputError, weights_of, write_json
from tests.samples import MODEL
from tests.tiny_released import TEXTS, pictures


@pytest.fixture
def benchmark(tmp_path):
    """Write four pictures with a text each."""
    entries = []
    for number, (picture, text) in enumerate(zip(pictures(), TEXTS, strict=True)):
        picture.save(tmp_path / f"{number}.png")
        sentences = [{"raw": text}]
        entries.append({"filename": f"{number}.png", "split": "test", "sentences": sentences})
    write_json(tmp_path / "dataset_tiny.json", {"images": entries})
    return tmp_path


def test_a_folder_of_align_model_is_evaluated_indexed_and_searched(copy, benchmark, capsys):
    run, index = load_hf(copy), benchmark / "index"
    assert main(["evaluate", str(copy), "--benchmark", str(benchmark), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    expected = evaluate_retrieval(run, benchmark)
    assert {name: record[name] for name in expected} == expected
    assert record["run"] == {"name": copy.name, "sha256": weights_of(copy)}
    assert json.loads((copy / "results" / "retrieval.json").read_text()) == record

    command = ["index", str(copy), str(benchmark), str(index), "--device", "cpu", "--json"]
    assert main(command) == 0 and json.loads(capsys.readouterr().out)["images"] == 4
    assert main(["search", str(index), TEXTS[0], "--top", "4", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["hits"]
    vectors = run.encode_images(pictures()) @ run.encode_texts(TEXTS[:1])[0]
    assert [hit["score"] for hit in found] == pytest.approx(
        vectors.sort(descending=True).values.tolist(), abs=2e-4
    )


def test_weights_in_several_files_identify_the_model(copy):
    seen = {weights_of(copy)}
    parts = [copy / f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    (copy / "model.safetensors").rename(parts[0])
    for second in (b"one", b"other"):
        parts[1].write_bytes(second)
        seen.add(weights_of(copy))
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("gpu", "device", "expected"),
    [(False, None, "cpu"), (True, None, "cuda"), (True, "cpu", "cpu"), (True, "cuda", "cuda")],
)
def test_a_gpu_is_used_where_there_is_one_unless_the_user_chooses(
    gpu, device, expected, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(embed, "load_run", lambda folder, device: device)
    assert load_encoder(MODEL, device) == expected


def test_a_gpu_that_does_not_exist_and_a_folder_of_nothing_are_refused_in_one_line(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for command in (["evaluate"], ["index", str(tmp_path), str(tmp_path / "out")]):
        command = [command[0], str(MODEL), *command[1:], "--device", "cuda"]
        assert main(command) == 2
        assert "--device cuda: this machine has no GPU" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"config\.json: no such file"):
        load_encoder(tmp_path)
