"""The examples run as they stand."""

import runpy
from pathlib import Path

import torch
from PIL import Image

EXAMPLE = Path(__file__).parents[1] / "examples" / "train_plain.py"


def test_a_loop_of_ones_own_trains_and_draws(tmp_path, monkeypatch):
    assert len(EXAMPLE.read_text().splitlines()) < 60
    monkeypatch.setattr("sys.argv", ["train_plain.py", "30", str(tmp_path)])
    state = runpy.run_path(str(EXAMPLE))
    assert state["loss"] < 2.0  # it begins at 2.3
    assert not torch.equal(state["model"].ema.encoder.registers, state["model"].network.encoder.registers)
    for name in ("a_blue_seven.png", "a_red_three_on_white_paper.png"):
        with Image.open(tmp_path / name) as image:
            assert image.size == (128, 128)
