"""The converting command: an account of every tensor, and mistakes in one line."""

import re

import pytest
import torch
from djepa_reference import Public, public_file

from jepa_t.cli import main


@pytest.fixture
def theirs(tmp_path):
    return public_file(tmp_path / "theirs.pth", Public(), Public())


def test_the_account_and_the_option_to_train_with_are_printed(theirs, tmp_path, capsys):
    out = tmp_path / "ours.pth"
    assert main(["convert", "djepa", theirs, str(out), "--backbone", "--ema"]) == 0
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    assert ["encoder_blocks", "28", "encoder.blocks", "30"] in lines
    assert any(line[:2] == ["class_emb", "1"] and "left out" in " ".join(line) for line in lines)
    assert any(line[:1] == ["fusion"] and "starts from the training config" in " ".join(line) for line in lines)
    assert any(line[:1] == ["optimizer"] and "not read" in " ".join(line) for line in lines)
    assert f"written to {out}" in said
    assert "model.encoder.norm_at='sequence'" in said
    state = torch.load(out, weights_only=True)["state_dict"]
    assert torch.equal(state["network.encoder.registers"], state["ema.encoder.registers"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["djepa", "IN", "OUT"], "--image-tokenizer is missing"),
        (["jepat", "IN", "OUT", "--image-tokenizer", "x"], "--text-encoder is missing"),
        (["djepa", "absent.pth", "OUT"], "'absent.pth' doesn't exist"),
        (["djepa", "IN", "OUT", "--backbone", "--names", "x"], "--backbone .* takes no --names"),
        (["jepat", "IN", "OUT", "--backbone", "--text-encoder", "x"], "--backbone .* takes no --text-encoder"),
        (["jepat", "IN", "OUT", "--text-encoder", "x", "y", "z"], "--text-encoder has 3 values"),
        (["mar-vae", "IN", "OUT"], "no LDM autoencoder"),
    ],
)
def test_mistakes_are_one_line_and_code_2(theirs, tmp_path, capsys, words, says):
    out = tmp_path / "out"
    assert main(["convert", *({"IN": theirs, "OUT": str(out)}.get(word, word) for word in words)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert re.search(says, said)
    assert not out.exists()
