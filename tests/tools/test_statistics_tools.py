"""Statistics of a folder, and a folder against them, as commands."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_features import inception_weights, write_folder

ROOT = Path(__file__).parents[2]


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def run(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))  # as when the command is run

    def run(name, *words):
        features = ["--features", f"weights={inception_weights()}", "layer=64", "--workers", "0"]
        return tool(name)([*map(str, words), *features])

    yield run
    sys.modules.pop("make_statistics", None)


def test_a_folder_against_statistics_of_another(run, tmp_path, capsys):
    generated, real = write_folder(tmp_path / "a", 70, seed=0), write_folder(tmp_path / "b", 70, seed=1, side=40)
    assert run("make_statistics", real, tmp_path / "b.npz", "--keep", "--size", 24) == 0
    assert "statistics of 70 images" in capsys.readouterr().out.replace("\n", " ")
    with np.load(tmp_path / "b.npz") as file:
        assert set(file.files) == {"mu", "sigma", "mu_s", "sigma_s", "features", "features_sha256", "count"}
    assert run("evaluate_images", generated, tmp_path / "b.npz", "--out", tmp_path / "report.json") == 0
    assert "FID-70" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["FID-70"] > 0
    assert report["count"] == 70
    assert report["InceptionFeatures"]["reference"] == "b.npz"


def test_mistakes_are_one_line(run, tmp_path, capsys):
    write_folder(tmp_path / "a", 2, seed=0)
    assert run("make_statistics", tmp_path / "nothing", tmp_path / "b.npz") == 2
    assert capsys.readouterr().err.startswith("error: no images in")
    assert run("evaluate_images", tmp_path / "a", tmp_path / "a") == 2
    assert "2 generated images in 64 features" in capsys.readouterr().err
    assert run("evaluate_images", tmp_path / "a", tmp_path / "none.npz") == 2
    assert "doesn't exist" in capsys.readouterr().err
