"""The examples run as they stand."""

import runpy
from pathlib import Path

import pytest
import torch
from PIL import Image

from jepa_t.engine import load_config
from jepa_t.pipeline import Pipeline
from jepa_t.registry import MODELS, build
from jepa_t.worlds.shapes import ShapeScenes

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
    for name in ("seen", "unseen", "colours", "invented", "captions"):
        with (
            Image.open(tmp_path / f"emoji_{name}.png") as drawn,
            Image.open(EXAMPLES.parent / "docs" / f"emoji_{name}.png") as shown,
        ):
            assert drawn.size == shown.size


def test_scenes_of_two_captions_are_drawn_and_judged(tmp_path, monkeypatch, capsys):
    config, data = load_config("jepat_shapes").model.to_dict(), ShapeScenes(size=64)
    model = build(config, MODELS)
    model.fit(data.images, data.captions)
    Pipeline(model, config).save_pretrained(tmp_path / "model")
    monkeypatch.setattr("sys.argv", ["regions.py", str(tmp_path / "model"), "4", str(tmp_path)])
    runpy.run_path(str(EXAMPLES / "regions.py"))
    assert "both: " in capsys.readouterr().out
    with Image.open(tmp_path / "regions.png") as sheet:
        assert sheet.width > 4 * 100


@pytest.mark.slow  # it judges 500 images among all emoji
def test_siblings_tell_a_tone_better_than_a_gender(capsys):
    runpy.run_path(str(EXAMPLES / "emoji_siblings.py"))
    right = {line.split(":")[0]: float(line.split("r1 ")[1][:4]) for line in capsys.readouterr().out.splitlines()}
    assert len(right) == 4
    assert right["unseen_tone, from the change of the 5 most alike"] > 0.6
    assert right["unseen_gender, from the change of all"] < 0.1


@pytest.mark.slow  # it draws 1,500 images
def test_tones_are_lost_after_the_text(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["emoji_tones.py"])
    runpy.run_path(str(EXAMPLES / "emoji_tones.py"))
    for line in capsys.readouterr().out.splitlines():
        caption, tokenizer, drawn = (float(part.split("held out ")[1][:4]) for part in line.split("; "))
        assert abs(caption - 1) < 0.1
        assert 0.4 < drawn < tokenizer
