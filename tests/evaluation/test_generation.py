"""Drawing many images: through kills, on any number of processes, never mixing settings."""

import copy
import json
import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from mmengine.config import Config
from tiny_features import inception, write_folder

from jepa_t.engine import JEPATRunner, apply
from jepa_t.errors import UserError
from jepa_t.evaluation.distribution import save_statistics
from jepa_t.evaluation.features import extract
from jepa_t.evaluation.generation import GenerationLoop, prompts_hash, settings
from jepa_t.evaluation.images import open_images, read
from jepa_t.model import JEPAT
from jepa_t.registry import FEATURES, build
from jepa_t.sampling import sampler_for

ROOT = Path(__file__).parents[2]
COUNT = 70
ENV = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]),
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}
# Runs a tool; with a number it kills itself, as a machine would, when it is to draw that batch.
RUN = """
import os, runpy, signal, sys
import tiny_features
from jepa_t.model import JEPAT
left, tool = int(sys.argv.pop(1)), sys.argv.pop(1)
draw = JEPAT.generate
def generate(*arguments):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return draw(*arguments)
if left:
    JEPAT.generate = generate
sys.argv[0] = tool
runpy.run_path(tool, run_name="__main__")
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A work dir with a checkpoint, and a config beside it."""
    root = tmp_path_factory.mktemp("evaluation")
    images, extractor = open_images(write_folder(root / "real", 80, seed=5, side=6)), build(inception(), FEATURES)
    save_statistics(root / "real.npz", extractor, (extract(extractor, part) for _, part in read(images, 80)), True)
    model = tiny.make_model()
    (root / "work").mkdir()
    torch.save({"state_dict": model.state_dict(), "meta": {"train_steps": 8}}, root / "work" / "iter_8.pth")
    (root / "work" / "last_checkpoint").write_text("iter_8.pth")
    (root / "tiny_imagenet.py").write_text(config(root).pretty_text)
    return root


def config(root: Path) -> Config:
    return Config(
        {
            "default_scope": "jepa_t",
            "model": tiny.config(),
            "test_dataloader": {
                "batch_size": 9,
                "num_workers": 0,
                "dataset": {"type": "ClassPrompts", "count": COUNT, "names": ["red three", "blue five", "seven"]},
                "sampler": {"type": "DefaultSampler", "shuffle": False},
                "collate_fn": {"type": "keep_batch"},
            },
            "test_cfg": {"type": "GenerationLoop"},
            "test_evaluator": {
                "type": "DistributionMetric",
                "features": inception(),
                "reference": str(root / "real.npz"),
            },
            "log_level": "WARNING",
        }
    )


def evaluate(root: Path, work: Path, prepare=lambda cfg: None):
    """One evaluation in this process: its loop, its figures, and how many images it drew."""
    apply()
    cfg = config(root)
    cfg.work_dir, cfg.load_from = str(work), str(root / "work" / "iter_8.pth")
    prepare(cfg)
    runner = JEPATRunner.from_cfg(cfg)
    drawn, draw = [], JEPAT.generate
    runner.model.generate = lambda captions, seeds: drawn.extend(seeds) or draw(runner.model, captions, seeds)
    return runner, runner.test(), drawn


def folders(work: Path) -> list[Path]:
    return sorted(path for path in (work / "generated").iterdir() if path.is_dir())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


@pytest.fixture(scope="module")
def unbroken(root):
    """An evaluation by one process without interruption."""
    runner, figures, drawn = evaluate(root, root / "unbroken")
    assert drawn == list(range(COUNT))
    return runner, figures


def words(root, work, *more):
    return [str(root / "tiny_imagenet.py"), str(root / "work" / "iter_8.pth"), "--work-dir", str(work), *more]


def test_killed_it_goes_on_with_two_processes_to_the_same_figures(root, unbroken):
    work, tool = root / "killed", str(ROOT / "tools" / "test.py")
    script = root / "run.py"
    script.write_text(RUN)
    killed = subprocess.run(
        [sys.executable, str(script), "3", tool, *words(root, work)], env=ENV, capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (folder,) = folders(work)
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    assert len(before) == 27
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script), "0"]
    more = [*start, tool, *words(root, work, "--launcher", "pytorch", "--cfg-options", "test_cfg.pack=True")]
    done = subprocess.run(more, env=ENV, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert folders(work) == [folder]
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}.items() >= before.items()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    (whole,) = folders(root / "unbroken")
    assert folder.name == whole.name
    assert contents(folder) == contents(whole)
    report = json.loads((work / "metrics.json").read_text())
    for name, figure in unbroken[1].items():
        assert report[name] == pytest.approx(figure, rel=1e-9, abs=1e-12), name
    assert np.load(folder.with_suffix(".npz"))["arr_0"].shape == (COUNT, *tiny.SIZE, 3)
    check_report(report)


def check_report(report):
    """All that evaluation.md asks for."""
    assert report["train_steps"] == 8
    assert {"FID-70", "sFID-70", "IS-70", "precision", "recall", "KID"} <= report.keys()
    facts = {name.removeprefix("protocol/"): value for name, value in report.items() if name.startswith("protocol/")}
    assert facts["weights"] == "averaged"
    assert len(facts["weights_sha256"]) == len(facts["InceptionFeatures"]["features_sha256"]) == 64
    assert facts["preset"] is None
    assert (facts["sampler"]["steps"], facts["sampler"]["guidance_scale"]) == (3, 3.0)
    assert facts["count"] == COUNT
    assert facts["precision"] == "fp32"
    assert facts["seeds"]
    assert facts["InceptionFeatures"]["reference"] == "real.npz"
    assert facts["versions"]["torch"] == version("torch")
    assert facts["InceptionFeatures"]["torch_fidelity"]


def test_only_batches_with_something_missing_are_drawn_and_come_out_the_same(root, unbroken):
    (folder,) = folders(root / "unbroken")
    before = contents(folder)
    for index in (3, 50, 69):
        (folder / f"{index:06d}.png").unlink()
    (folder / ".000003.png.tmp").write_bytes(b"half")
    _, figures, drawn = evaluate(root, root / "unbroken")
    assert drawn == [*range(9), *range(45, 54), *range(63, 70)]
    assert contents(folder) == before
    assert figures == unbroken[1]
    assert evaluate(root, root / "unbroken")[1:] == (figures, [])


def reweigh(cfg):
    model = tiny.make_model(seed=1)
    cfg.load_from = str(Path(cfg.load_from).with_name("other.pth"))
    torch.save({"state_dict": model.state_dict()}, cfg.load_from)


def retokenize(cfg):
    """Other weights in the image tokenizer alone, which lie outside the network and its average."""
    model = tiny.make_model()
    model.image_tokenizer.mean += 0.1
    cfg.load_from = str(Path(cfg.load_from).with_name("retokenized.pth"))
    torch.save({"state_dict": model.state_dict()}, cfg.load_from)


CHANGES = {
    "weights": reweigh,
    "image tokenizer": retokenize,
    "sampler": lambda cfg: cfg.model.update(sampler={"steps": 3, "draw": {"solver_steps": 3}, "guidance_scale": 2.0}),
    "prompts": lambda cfg: cfg.test_dataloader.dataset.update(names=["red three", "blue five", "nine"]),
    "count": lambda cfg: cfg.test_dataloader.dataset.update(count=71),
}


@pytest.fixture
def nothing_is_drawn(monkeypatch):
    monkeypatch.setattr(GenerationLoop, "_draw", lambda self, folder: None)
    monkeypatch.setattr(GenerationLoop, "_measure", lambda self, folder: {"folder": folder.name})
    monkeypatch.setattr("jepa_t.evaluation.distribution.DistributionMetric.prepare", lambda *_: None)


def test_each_setting_has_its_folder(root, unbroken, nothing_is_drawn):
    names = {"unbroken": folders(root / "unbroken")[0].name}
    for name, change in CHANGES.items():
        names[name] = evaluate(root, root / "changed", change)[1]["folder"]
    with torch.autocast("cpu", torch.bfloat16):
        names["bf16"] = evaluate(root, root / "changed")[1]["folder"]
    assert len(set(names.values())) == len(names), names
    said = json.loads((root / "changed" / "generated" / names["bf16"] / "settings.json").read_text())
    assert said["precision"] == "bf16"
    same = evaluate(
        root, root / "elsewhere", lambda cfg: cfg.model.update(sampler={"steps": 3, "draw": {"solver_steps": 3}})
    )
    assert same[1]["folder"] == names["unbroken"]
    chosen = evaluate(root, root / "changed", lambda cfg: cfg.test_cfg.update(out=str(root / "images")))
    assert (root / "images" / chosen[1]["folder"] / "settings.json").is_file()


def test_other_seeds_are_other_prompts():
    class Prompts:
        def __init__(self, first):
            self.samples = {"caption": ["a red three", "a blue five"], "index": [first, first + 1]}

        def __len__(self):
            return 2

        def __getitems__(self, indices):
            return {"data_samples": self.samples}

    assert prompts_hash(Prompts(0)) == prompts_hash(Prompts(0)) != prompts_hash(Prompts(2))


def test_what_can_not_be_computed_is_told_before_anything_is_drawn(root):
    def few(cfg):
        cfg.test_dataloader.dataset.count = 64

    with pytest.raises(UserError, match="64 generated images in 64 features"):
        evaluate(root, root / "few", few)
    assert not (root / "few" / "generated").exists()


def test_an_image_of_no_numbers_is_told(root):
    def poison(cfg):
        model = tiny.make_model()
        with torch.no_grad():
            model.ema.predictor.norm.weight.fill_(float("nan"))
        cfg.load_from = str(root / "work" / "poisoned.pth")
        torch.save({"state_dict": model.state_dict()}, cfg.load_from)

    with pytest.raises(UserError, match="NaN"):
        evaluate(root, root / "poisoned", poison)


def test_settings_name_the_preset(root, unbroken):
    runner = copy.copy(unbroken[0])
    runner.cfg = copy.deepcopy(runner.cfg)
    runner.cfg.model.sampler = "fast"
    runner.model.sampler = sampler_for(runner.model.network.generative, "fast")
    found = settings(runner)
    assert found["preset"] == "fast"
    assert found["sampler"]["steps"] == 16
    assert found["sampler"]["guidance_scale"] == 3.0
