"""Installed means usable: the commands in fresh environments, from an empty folder. Minutes: ``pytest -m slow``."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
ENV = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
SHORT = ["train_cfg.max_iters=4", "train_dataloader.batch_size=8", "train_dataloader.dataset.size=64", "threads=1"]
FEW = ["test_dataloader.dataset.per_split=4", "test_dataloader.dataset.splits=[seen]", "model.sampler.steps=2"]


def run(*words, **options):
    done = subprocess.run([*map(str, words)], env=ENV, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pip(*words):
    run(sys.executable, "-m", "pip", *words, "-q", "--no-deps", "--no-build-isolation")


def build(source, folder):
    pip("wheel", source, "-w", folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build(ROOT, tmp_path_factory.mktemp("dist"))


def test_the_archive_of_the_sources_makes_the_same_wheel(wheel, tmp_path):
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=ROOT)
    again = build(next(tmp_path.glob("*.tar.gz")), tmp_path)
    names, expected = (set(zipfile.ZipFile(file).namelist()) for file in (again, wheel))
    assert names == expected
    assert {"jepa_t/py.typed", "jepa_t/configs/jepat_digits.py", "jepa_t/data/imagenet_classes.txt"} <= names


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_the_commands_run_from_an_empty_folder(kind, wheel, tmp_path):
    """In an environment of its own, which takes from this one what jepa_t depends on."""
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    pip("--python", python, "install", *([wheel] if kind == "wheel" else ["--editable", ROOT]))
    folder = tmp_path / "empty"
    folder.mkdir()

    def jepa_t(*words):
        return run(python.with_name("jepa-t"), *words, cwd=folder)

    home = Path(run(python, "-c", "import jepa_t; print(jepa_t.__file__)", cwd=folder))
    assert home.is_relative_to(tmp_path if kind == "wheel" else ROOT)
    jepa_t("train", "jepat_digits", "--cfg-options", *SHORT)
    assert "metrics.json" in jepa_t("test", "jepat_digits", "--cfg-options", *SHORT, *FEW)
    jepa_t("sample", "work_dirs/jepat_digits", "a red three", "--steps", "2")
    assert (folder / "samples" / "samples.png").exists()
    jepa_t("benchmark", "fusion", "--preset", "smoke", "--tasks", "digits", "--arms", "jepa_t", "none", "--jobs", "1")
    assert (folder / "work_dirs" / "benchmark_smoke" / "report.md").exists()
    (folder / "mine.py").write_text('_base_ = ["ablation/digits_none"]\n')
    jepa_t("train", "mine.py", "--cfg-options", *SHORT)
