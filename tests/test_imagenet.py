"""ImageNet from end to end with a miniature of it: configs/jepat_imagenet.py, shrunk by ``--cfg-options`` alone."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from djepa_reference import Public, public_file
from ldm_reference import ldm_weights
from PIL import Image
from tiny_features import inception_weights
from tiny_text import saved

from jepa_t.files import find_checkpoint, load_checkpoint

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "jepat_imagenet.py"
FROM_DJEPA = ROOT / "configs" / "jepat_imagenet_from_djepa.py"
CLASSES = {"n01440764": "tench", "n01443537": "goldfish", "n01484850": "great white shark"}
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
ENV = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}


def write_images(folder, count, seed):
    """Class folders of JPEG files: noise around the colour of their class."""
    random = np.random.default_rng(seed)
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            size = random.integers(20, 50, 2)
            pixels = random.normal(64 * (number + 1), 40, (*size, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{name}_{index}.JPEG")


class Folder:
    """A folder with all that a person who trains on ImageNet has, and what they type there."""

    def __init__(self, path: Path) -> None:
        self.path, self.work = path, path / "work"
        self.latents = path / "data" / "imagenet_latents"
        write_images(path / "data" / "imagenet" / "train", 8, 0)
        write_images(path / "data" / "imagenet" / "val", 24, 1)
        torch.save({"model": ldm_weights(latents=16)}, path / "kl16.ckpt")
        names = json.dumps(list(CLASSES.values()))
        self.model = [
            "model.width=32",
            "model.image_tokenizer.source=kl16",
            "model.image_tokenizer.size=(16,16)",
            f"model.text_tokenizer.model={saved('open_clip')}",
            "model.text_tokenizer.pretrained=None",
            "model.text_tokenizer.cache=text",
            *(f"model.{part}.{size}" for part in ("encoder", "predictor") for size in ("depth=1", "heads=2")),
            "model.fusion.features.heads=2",
            "model.objectives.flow.head_width=16",
            "model.objectives.flow.head_depth=1",
            "model.objectives.feature.hidden_width=32",
            "model.sampler.steps=2",
            "model.sampler.draw.solver_steps=2",
            f"train_dataloader.dataset.dataset.names={names}",
            "train_dataloader.dataset.dataset.size=16",
            "train_dataloader.num_workers=1",
        ]
        self.training = [
            "train_cfg.total_batch=8",
            "param_scheduler.warmup=4",
            "default_hooks.checkpoint.interval=4",
            "default_hooks.logger.interval=4",
        ]
        self.evaluation = [
            "test_dataloader.batch_size=16",
            "test_dataloader.num_workers=1",
            "test_dataloader.dataset.count=96",
            f"test_dataloader.dataset.names={names}",
            f"test_evaluator.features.weights={inception_weights()}",
            "test_evaluator.features.layer=64",
            "test_evaluator.reference=data/imagenet/val",
        ]

    def start(self, tool: str, *words: object, processes: int = 1) -> subprocess.Popen:
        """Start a tool in this folder."""
        together = TORCHRUN if processes > 1 else []
        launcher = ["--launcher", "pytorch"] if processes > 1 else []
        command = [sys.executable, *together, ROOT / "tools" / tool, *words, *launcher]
        return subprocess.Popen(
            [str(word) for word in command],
            cwd=self.path,
            env=ENV,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, tool: str, *words: object, processes: int = 1) -> str:
        """Run a tool to its end; what it said."""
        process = self.start(tool, *words, processes=processes)
        try:
            said, _ = process.communicate(timeout=300)
        finally:
            process.kill()
        assert process.returncode == 0, said
        return said

    def train(self, steps: int, config: Path = CONFIG, *more: str) -> list[object]:
        """The words of a training."""
        options = [*self.model, *self.training, f"train_cfg.max_iters={steps}", *more]
        work = self.work if config == CONFIG else self.path / config.stem
        return [config, "--work-dir", work, "--cfg-options", *options]


def kill_after_a_checkpoint(process, work):
    """``kill -9`` to the launcher and its processes, as a machine that fails."""
    deadline = time.monotonic() + 300
    while not (work / "last_checkpoint").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    alive = process.poll() is None
    if alive:
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        assert len(children) == 2
        for number in (process.pid, *map(int, children)):
            os.kill(number, signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert alive, said
    assert (work / "last_checkpoint").exists(), said


def test_from_images_on_disk_to_a_distance(tmp_path):
    folder = Folder(tmp_path)

    folder.run("convert_checkpoint.py", "mar-vae", "kl16.ckpt", "kl16")
    folder.run("cache_latents.py", CONFIG, "--shard", 10, "--cfg-options", *folder.model)

    kill_after_a_checkpoint(folder.start("train.py", *folder.train(1_000_000), processes=2), folder.work)
    before = load_checkpoint(find_checkpoint(str(folder.work)))["meta"]
    steps = before["iter"] + 6
    said = folder.run("train.py", *folder.train(steps), "--resume", processes=2)
    assert "reading the cache of latents" in said
    assert "8 samples = 2 processes x 4 a batch x 1 accumulated; learning rate 3.125e-06 = 0.0001 x 8 / 256" in said
    logged = [int(step) for step in re.findall(rf"Iter\(train\) \[ *(\d+)/{steps}\]", said)]
    assert logged == [before["iter"] + 4]
    after = load_checkpoint(find_checkpoint(str(folder.work)))
    assert after["meta"]["iter"] == steps
    assert after["meta"]["train_samples"] == 8 * steps
    assert all(torch.isfinite(value).all() for value in after["state_dict"].values())

    folder.run("sample.py", folder.work, "a photo of a tench", "a great white shark", "--out", "samples")
    assert len([*(tmp_path / "samples").glob("*seed0.png")]) == 2

    evaluate = [CONFIG, "--work-dir", folder.work, "--cfg-options", *folder.model, *folder.evaluation]
    folder.run("test.py", *evaluate, processes=2)
    report = json.loads((folder.work / "metrics.json").read_text())
    (distance,) = [value for name, value in report.items() if name.startswith("FID")]
    assert np.isfinite(distance)
    assert distance > 0
    assert report["train_steps"] == steps

    theirs = tmp_path / "djepa.pth"
    public_file(theirs, Public(classes=3, depths=(1, 1), heads=2, tokens=64, buffer=64, head=(16, 1)))
    folder.run("convert_checkpoint.py", "djepa", theirs, "backbone.pth", "--backbone")
    said = folder.run("train.py", *folder.train(4, FROM_DJEPA, "load_from=backbone.pth"))
    assert "left to the config" in said
    backbone, trained = (
        load_checkpoint(str(file))["state_dict"]
        for file in (tmp_path / "backbone.pth", find_checkpoint(str(tmp_path / FROM_DJEPA.stem)))
    )
    kept = [name for name in backbone if name.startswith("ema.encoder.")]
    assert kept
    assert all(torch.equal(backbone[name], trained[name]) for name in kept)
