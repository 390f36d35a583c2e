"""The commands as a person uses them: train, interrupt, go on, evaluate."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_fakes import tiny_config
from tiny_run import CONFIG

from jepa_t.cli import main
from jepa_t.files import find_checkpoint, load_checkpoint
from jepa_t.registry import FUSIONS

ROOT = Path(__file__).parents[2]
ENV = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "engine"), os.environ.get("PYTHONPATH", "")]),
    "OMP_NUM_THREADS": "1",
}
EVALUATION = """
test_dataloader = dict(
    batch_size=4,
    num_workers=0,
    dataset=dict(type="TinyPrompts"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="keep_tiny"),
)
test_cfg = dict(type="TestLoop")
test_evaluator = dict(type="TinyMetric")
custom_imports = dict(imports=["engine_fakes"])
"""

UNREADABLE = """
from engine_fakes import DATASETS, TinyData
from jepa_t.errors import UserError


@DATASETS.register_module()
class Unreadable(TinyData):
    def __getitems__(self, indices):
        raise UserError("nothing can be read")
"""


@pytest.fixture
def config(tmp_path):
    cfg = tiny_config(tmp_path, 6)
    cfg.pop("work_dir")
    cfg.log_level = "INFO"
    cfg.visualizer = {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend"}]}
    (tmp_path / "tiny.py").write_text(cfg.pretty_text + EVALUATION)
    return tmp_path / "tiny.py"


def command(tool, *words):
    return [sys.executable, str(ROOT / "tools" / tool), *map(str, words)]


def run(tool, *words):
    return subprocess.run(command(tool, *words), env=ENV, capture_output=True, text=True, timeout=300)


def test_train_go_on_and_evaluate(config, tmp_path):
    work = tmp_path / "work"
    first = run("train.py", config, "--work-dir", work, "--amp")
    assert first.returncode == 0, first.stderr
    assert "Iter(train) [6/6]" in first.stdout
    told = f"trained; saved in {work}/iter_6.pth; next: jepa-t test {config} --work-dir {work}"
    assert first.stdout.splitlines()[-1] == told
    more = run("train.py", config, "--work-dir", work, "--resume", "--cfg-options", "train_cfg.max_iters=8")
    assert more.returncode == 0, more.stderr
    assert "Iter(train) [8/8]" in more.stdout
    assert "[6/8]" not in more.stdout
    judged = run("test.py", config, "--work-dir", work)
    assert judged.returncode == 0, judged.stderr
    assert "count" in judged.stdout
    report = json.loads((work / "metrics.json").read_text())
    assert report["count"] == 5
    assert report["train_steps"] == 8
    assert report["train_seconds"] > 0
    assert report["protocol/count"] == 5
    assert report["protocol/weights"] == "as trained"
    assert len(report["protocol/weights_sha256"]) == 64
    anew = run("train.py", config, "--work-dir", work, "--overwrite")
    assert anew.returncode == 0, anew.stderr
    assert sorted(path.name for path in work.glob("*.pth")) == ["iter_3.pth", "iter_6.pth"]


def test_ctrl_c_saves_and_tells_how_to_go_on(config, tmp_path):
    work = tmp_path / "work"
    words = (config, "--work-dir", work, "--cfg-options", "train_cfg.max_iters=1000000")
    process = subprocess.Popen(
        command("train.py", *words), env=ENV, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    deadline = time.monotonic() + 180
    while not (work / "last_checkpoint").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    newest = find_checkpoint(str(work))
    assert newest in said
    assert "go on with: python" in said
    assert "--resume" in said
    assert load_checkpoint(newest)["meta"]["iter"] == int(Path(newest).stem.removeprefix("iter_"))


def test_a_mistake_found_by_a_worker_ends_the_run(tmp_path):
    """The process waits for its workers in the end, so they must hear it."""
    cfg = tiny_config(tmp_path / "work")
    cfg.train_dataloader.update(num_workers=1, dataset={"type": "Unreadable"})
    (tmp_path / "unreadable.py").write_text(UNREADABLE)
    (tmp_path / "config.py").write_text(cfg.pretty_text + '\ncustom_imports = dict(imports=["unreadable"])')
    env = ENV | {"PYTHONPATH": os.pathsep.join([str(tmp_path), ENV["PYTHONPATH"]])}
    words = command("train.py", tmp_path / "config.py")
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=90)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: nothing can be read"


@pytest.mark.parametrize(
    ("tool", "words", "says"),
    [
        ("train.py", ["--resume"], "no checkpoint"),
        ("train.py", ["--cfg-options", "model.widht=3"], "did you mean 'width'"),
        ("train.py", ["--launcher", "pytorch"], "torchrun"),
        ("test.py", [], "no checkpoint"),
    ],
)
def test_mistakes_are_one_line_and_code_2(config, tmp_path, tool, words, says):
    done = run(tool, config, "--work-dir", tmp_path / "work", *words)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr


GATE = """
import torch
from jepa_t import FUSIONS


@FUSIONS.register_module()
class Gate(torch.nn.Module):
    def __init__(self, width, text_width):
        super().__init__()
        self.project = torch.nn.Linear(text_width, width)

    def forward(self, x, text):
        return x + self.project(text.pooled)[:, None]
"""


@pytest.mark.parametrize(
    ("imports", "kind"),
    [
        ("", "'gate.Gate'"),
        ("from gate import Gate", "Gate"),
        ("import gate", "'Gate'"),
        ("custom_imports = dict(imports=['gate'])", "'Gate'"),
        ("", "'Add'"),
    ],
    ids=["path", "class", "name", "custom_imports", "ours"],
)
def test_the_next_command_that_is_told_draws(tmp_path, monkeypatch, capsys, imports, kind):
    (tmp_path / "gate.py").write_text(GATE)
    lines = [imports, CONFIG, f"model['fusion'] = dict(features=dict(type={kind}))", "train_cfg['max_iters'] = 1"]
    (tmp_path / "own.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)

    def start(words):
        """As a process of its own, which has imported nothing."""
        monkeypatch.setitem(sys.modules, "gate", None)
        del sys.modules["gate"]
        others = {name: kind for name, kind in FUSIONS.module_dict.items() if name != "Gate"}
        monkeypatch.setattr(FUSIONS, "_module_dict", others)
        return main(words)

    assert start(["train", "own.py"]) == 0
    _, *words = shlex.split(capsys.readouterr().out.splitlines()[-1].partition("next: ")[2])
    assert ("--config" in words) is (kind != "'Add'")
    assert start(words) == 0
