"""Statistics of a folder, and a folder against them, as commands."""

import json
import os
from argparse import ArgumentParser

import numpy as np
import pytest
from tiny_features import inception_weights, write_folder

from jepa_t.cli import main
from jepa_t.cli.statistics import add_reading_arguments


def run(command, *words):
    features = ["--features", f"weights={inception_weights()}", "layer=64", "--workers", "0"]
    return main([command, *map(str, words), *features])


def test_a_folder_against_statistics_of_another(tmp_path, capsys):
    generated, real = write_folder(tmp_path / "a", 70, seed=0), write_folder(tmp_path / "b", 70, seed=1, side=40)
    assert run("statistics", real, tmp_path / "b.npz", "--keep", "--size", 24) == 0
    assert "statistics of 70 images" in capsys.readouterr().out.replace("\n", " ")
    with np.load(tmp_path / "b.npz") as file:
        assert set(file.files) == {"mu", "sigma", "mu_s", "sigma_s", "features", "features_sha256", "count"}
    assert run("evaluate", generated, tmp_path / "b.npz", "--out", tmp_path / "report.json") == 0
    assert "FID-70" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["FID-70"] > 0
    assert report["count"] == 70
    assert report["InceptionFeatures"]["reference"] == "b.npz"


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 2), (16, 4)])
def test_no_more_processes_decode_than_there_are_cores(monkeypatch, cores, workers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(cores)), raising=False)
    parser = ArgumentParser()
    add_reading_arguments(parser)
    assert parser.parse_args([]).workers == workers


def test_mistakes_are_one_line(tmp_path, capsys):
    write_folder(tmp_path / "a", 2, seed=0)
    assert run("statistics", tmp_path / "nothing", tmp_path / "b.npz") == 2
    assert capsys.readouterr().err.startswith("error: no images in")
    assert run("evaluate", tmp_path / "a", tmp_path / "a") == 2
    told = capsys.readouterr().err
    assert "an Inception Score of 2 images" in told
    assert "--allow-few" in told
    assert run("evaluate", tmp_path / "a", tmp_path / "none.npz", "--allow-few") == 2
    assert "doesn't exist" in capsys.readouterr().err
    for words in (["--batch-size", 0], ["--workers", -1]):
        assert main(["evaluate", str(tmp_path / "a"), str(tmp_path / "a"), *map(str, words)]) == 2
        assert f"{words[0]} is {words[1]}; it must be a whole number" in capsys.readouterr().err
