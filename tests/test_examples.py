"""The examples run as they stand."""

import runpy
from pathlib import Path

import pytest
import torch
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
EXAMPLE = EXAMPLES / "train_plain.py"


def test_a_loop_of_ones_own_trains_and_draws(tmp_path, monkeypatch):
    assert len(EXAMPLE.read_text().splitlines()) < 60
    monkeypatch.setattr("sys.argv", ["train_plain.py", "30", str(tmp_path)])
    state = runpy.run_path(str(EXAMPLE))
    assert state["loss"] < 2.0  # it begins at 2.3
    assert not torch.equal(state["model"].ema.encoder.registers, state["model"].network.encoder.registers)
    for name in ("a_blue_seven.png", "a_red_three_on_white_paper.png"):
        with Image.open(tmp_path / name) as image:
            assert image.size == (128, 128)


@pytest.mark.slow  # the emoji are rendered for it
def test_the_sheets_of_the_docs_are_drawn_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["emoji_sheets.py", str(tmp_path)])
    runpy.run_path(str(EXAMPLES / "emoji_sheets.py"))
    for name in ("seen", "unseen", "invented", "captions"):
        with (
            Image.open(tmp_path / f"emoji_{name}.png") as drawn,
            Image.open(EXAMPLES.parent / "docs" / f"emoji_{name}.png") as shown,
        ):
            assert drawn.size == shown.size
