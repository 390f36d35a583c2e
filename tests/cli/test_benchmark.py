import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jepa_t.cli import benchmark, main

GATE = """
import torch


class Gate(torch.nn.Module):
    def __init__(self, width, text_width):
        super().__init__()
        self.proj = torch.nn.Linear(text_width, width)

    def forward(self, x, text):
        return x * (1 + self.proj(text.pooled).tanh()[:, None])
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.py"
    base = Path(__file__).parents[2] / "configs" / "jepat_shapes.py"
    path.write_text(f"""
_base_ = ["{base}"]
model = dict(width=16, text_tokenizer=dict(width=16, depth=1), sampler=dict(steps=3, draw=dict(solver_steps=2)))
train_dataloader = dict(batch_size=8, dataset=dict(size=64))
test_dataloader = dict(dataset=dict(splits=("seen", "swap")))
train_cfg = dict(max_iters=8)
""")
    return path


def test_fusions_of_ones_own_join_the_table(small, tmp_path, monkeypatch, capsys):
    """One by its dotted path, one registered by a module that a config imports, in processes of their own."""
    (tmp_path / "gate_of_mine.py").write_text(GATE)
    registered = GATE.replace("class", "@FUSIONS.register_module()\nclass").replace("Gate", "RegisteredGate")
    (tmp_path / "registered_gate.py").write_text(f"from jepa_t import FUSIONS\n{registered}")
    other = tmp_path / "other.py"
    other.write_text(
        f'_base_ = ["{small}"]\ncustom_imports = dict(imports=["registered_gate"])\n'
        'model = dict(fusion=dict(features=dict(type="RegisteredGate")))\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "out"
    command = ["benchmark", "fusion", "--preset", "smoke", "--out", str(out), "--jobs", "2"]
    assert main([*command, "--configs", str(small), str(other), "--fusion", "gate_of_mine.Gate"]) == 0
    records = json.loads((out / "results.json").read_text())["suites"]["fusion"]["records"]
    assert [record["arm"] for record in records] == ["small", "other", "gate_of_mine.Gate"]
    for record in records[1:]:
        assert record["parameters"] == pytest.approx(records[0]["parameters"], rel=0.02)
    assert "| gate_of_mine.Gate |" in (out / "report.md").read_text()
    first = (out / "report.md").read_bytes()
    assert main(["benchmark", "report", str(out)]) == 0
    assert (out / "report.md").read_bytes() == first


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for the workers where Linux has them")
def test_a_killed_suite_goes_on(small, tmp_path):
    """SIGKILL leaves no process that writes on, and what was done before isn't done again."""
    late = tmp_path / "late.py"
    late.write_text(f'_base_ = ["{small}"]\nmodel = dict(fusion="late")\n')
    command = ["benchmark", "fusion", "--configs", str(small), str(late), "--preset", "smoke", "--jobs", "1"]
    killed = tmp_path / "killed"
    script = [sys.executable, "-m", "jepa_t", *command, "--out", str(killed)]
    process = subprocess.Popen(script, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (done := [*killed.rglob("record.json")]) or not len([*killed.rglob("curve.json")]) > len(done):
        assert process.poll() is None
        time.sleep(0.05)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    before = {path: path.stat().st_mtime_ns for path in done}
    assert not (killed / "results.json").exists()
    assert main([*command, "--out", str(killed)]) == 0
    assert done[0].stat().st_mtime_ns == before[done[0]]
    records = json.loads((killed / "results.json").read_text())["suites"]["fusion"]["records"]
    assert [record["arm"] for record in records] == ["small", "late"]


def test_parameters_are_left_alone_when_asked(small, tmp_path):
    none = tmp_path / "none.py"
    none.write_text(f'_base_ = ["{small}"]\nmodel = dict(fusion="none")\n')
    command = ["benchmark", "fusion", "--configs", str(small), str(none), "--preset", "smoke", "--no-match"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    one, other = json.loads((tmp_path / "results.json").read_text())["suites"]["fusion"]["records"]
    assert other["parameters"] == other["unmatched"] < 0.98 * one["parameters"]


def test_damaged_results_are_told_before_anything_is_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "results.json").write_text("{")
    monkeypatch.setattr(benchmark, "run_suite", lambda *_: pytest.fail("ran"))
    assert main(["benchmark", "fusion", "--tasks", "digits", "--preset", "smoke", "--out", str(tmp_path)]) == 2
    assert "delete it and run the suite again, finished runs are kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("preset", "without"), [("smoke", set()), ("quick", {"recipe", "backbone", "composition"}), ("full", set())]
)
def test_all_is_every_suite_but_those_of_hours(preset, without, tmp_path, monkeypatch):
    planned = []
    monkeypatch.setattr(benchmark, "plan", lambda suite, *_: planned.append(suite) or {})
    monkeypatch.setattr(benchmark, "run_suite", lambda *_: ([], []))
    assert main(["benchmark", "all", "--preset", preset, "--out", str(tmp_path)]) == 0
    assert set(benchmark.NAMES) - set(planned) == without


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["report"], "report needs a folder"),
        (["report", "nowhere"], "no results.json in 'nowhere'"),
        (["fusion", "--preset", "quik"], "did you mean 'quick'"),
        (["fusion", "--fusion", "feature=Add"], "unknown fusion site 'feature': did you mean 'features'"),
        (["fusion", "--jobs", "0"], "--jobs is 0"),
        (["speed", "--jobs", "2"], "--jobs has no meaning for 'speed'"),
        (["fusion", "somewhere"], "only report takes a folder"),
        (["fusion", "--configs", "a/x.py", "b/x.py"], "two arms are called 'x'"),
        (["all", "--tasks", "digits"], "'all' takes no --tasks"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, says, capsys):
    assert main(["benchmark", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert says in error
