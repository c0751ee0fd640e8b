"""REAL_DATA.md: every command fits the parser, and those without a network run on real data."""

import json
import re
import shlex
from pathlib import Path

import pytest

from align_edu.cli import _build_parser, main
from align_edu.pairs import read_pairs
from tests.samples import REAL

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "notebooks" / "REAL_DATA.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.split("\n")]
COMMANDS = [shlex.split(line) for line in LINES if line]


def ours(command: list[str]) -> list[str]:
    return command[command.index("align-edu") + 1 :]


def test_every_command_fits_the_parser():
    others = [command[0] for command in COMMANDS if command[0] != "align-edu"]
    assert others == ["img2dataset", "torchrun"]
    for command in COMMANDS:
        if command[0] != "img2dataset":
            _build_parser(ours(command)).parse_args(ours(command))


def test_options_in_the_prose_exist():
    help_texts = (ROOT / "align_edu" / "commands.toml").read_text(encoding="utf-8")
    prose = re.sub(r"```sh\n.*?```", "", PAGE, flags=re.S)
    for option in re.findall(r"--[a-z][a-z-]*", prose):
        assert option in help_texts


@pytest.mark.parametrize("chip", ["a100", "h100"])
def test_the_plan_is_quoted_as_it_is_printed(chip, capsys):
    (command,) = (ours(command) for command in COMMANDS if "plan" in command)
    command[command.index("--chip") + 1] = chip
    assert main(command) == 0
    printed = capsys.readouterr().out
    for quote in (r"Whole run: .*", r".* pairs seen, .* FLOPs"):
        assert f'"{re.findall(quote, printed)[0]}"' in PAGE
    assert "DOES NOT FIT" not in printed


@pytest.mark.skipif(not REAL.exists(), reason="../shared/real is missing")
def test_a_tsv_is_filtered_on_its_texts_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = read_pairs(REAL / "alt_text" / "web_10000.parquet").to_pylist()
    clean = [(" ".join((row["caption"] or "").split()), row["url"]) for row in rows]
    Path("cc3m.tsv").write_text("".join(f"{text}\t{url}\n" for text, url in clean), "utf-8")
    (command,) = (ours(command) for command in COMMANDS if "cc3m.tsv" in command)
    assert main([*command, "--json"]) == 0
    funnel = json.loads(capsys.readouterr().out)
    assert funnel["raw"] == 10_000 > funnel["kept"] > 1_000
    assert read_pairs("texts").column_names == ["caption", "url"]
