"""The main job as a person does it, with the real configs. Minutes: run with ``pytest -m slow``."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from jepa_t.engine import load_config
from jepa_t.files import load_checkpoint, weights_hash
from jepa_t.pipeline import Pipeline
from jepa_t.registry import DATASETS, build
from jepa_t.worlds.digits import DigitPrompts
from jepa_t.worlds.digits.judge import judge
from jepa_t.worlds.digits.layouts import layout_named

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "jepat_digits.py"
ENV = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def command(tool, *words):
    return [sys.executable, str(ROOT / "tools" / tool), *map(str, words)]


def run(tool, *words):
    done = subprocess.run(command(tool, *words), env=ENV, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    return done.stdout


def flow_loss(model, images, captions):
    torch.manual_seed(0)
    with torch.no_grad():
        return model.loss(images, captions)["loss_flow"].item()


@pytest.mark.slow
def test_the_default_keeps_its_promises(tmp_path):
    run("train.py", CONFIG, "--work-dir", tmp_path)
    run("test.py", CONFIG, "--work-dir", tmp_path)
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["unseen/all"] >= 0.97
    assert figures["seen/all"] >= 0.97
    assert figures["frechet"] < 4.5 * figures["real/frechet"]  # seen: 4.1; below 4 is still to be reached
    assert figures["nearest_train"] > 0.5 * figures["nearest_held_out"]
    assert figures["train_steps"] == load_config(str(CONFIG)).train_cfg.max_iters
    model = Pipeline.from_pretrained(tmp_path, device="cpu").model
    data = build({"type": "InkedDigits", "size": 256, "seed": 9}, DATASETS)
    true = flow_loss(model, data.images, data.captions)
    assert flow_loss(model, data.images, data.captions[1:] + data.captions[:1]) > 1.1 * true
    check_edits_and_precision(Pipeline.from_pretrained(tmp_path, device="cpu"))


def check_edits_and_precision(draw):
    """Half an image given, or half the digits of each number, the images are right as often; 400 unseen captions."""
    prompts, tokenizer = DigitPrompts(splits=("unseen",), per_split=400, images=True), draw.model.image_tokenizer

    def drawn(pipeline=draw, **options):
        return pipeline(prompts.captions, range(400), output="tensor", batch_size=200, **options).images

    def accuracy(images):
        verdicts, _ = judge(images, prompts.facts, layout_named("single"))
        return sum(verdict["all"] for verdict in verdicts) / len(verdicts)

    plain = accuracy(drawn())
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:, 4:] = True
    images = prompts.images
    edited = drawn(images=images, mask=mask)
    assert accuracy(edited) >= plain - 0.01  # 4 of 400 are chance
    assert accuracy(drawn(images=images, mask=0.5)) >= plain - 0.01
    kept = tokenizer.decode(tokenizer.encode(images)).clamp(-1, 1)
    assert torch.equal(edited[..., :4], kept[..., :4])
    for dtype in (torch.bfloat16, torch.float16):
        half = pickle.loads(pickle.dumps(draw)).to(dtype=dtype)
        assert abs(accuracy(drawn(half)) - plain) <= 0.01


@pytest.mark.slow
def test_after_kill_9_a_resumed_run_ends_in_the_same_weights(tmp_path):
    short = ["train_cfg.max_iters=40", "default_hooks.checkpoint.interval=7", "threads=1"]
    options = ["--cfg-options", *short, "train_dataloader.batch_size=16"]
    run("train.py", CONFIG, "--work-dir", tmp_path / "whole", *options)
    cut = tmp_path / "cut"
    process = subprocess.Popen(command("train.py", CONFIG, "--work-dir", cut, *options), env=ENV)
    while not (cut / "last_checkpoint").exists():
        time.sleep(0.05)
        assert process.poll() is None
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run("train.py", CONFIG, "--work-dir", cut, "--resume", *options)
    whole, parts = (load_checkpoint(str(tmp_path / name / "iter_40.pth")) for name in ("whole", "cut"))
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, parts["state_dict"][name]), name
    one, other = (Pipeline.from_pretrained(tmp_path / name, device="cpu").model for name in ("whole", "cut"))
    assert weights_hash(one) == weights_hash(other)
