import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import benchmark

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
model = dict(width=16, text_tokenizer=dict(width=16, depth=1), sampler=dict(steps=3, solver_steps=2))
train_dataloader = dict(batch_size=8, dataset=dict(size=64))
test_dataloader = dict(dataset=dict(splits=("seen", "swap")))
train_cfg = dict(max_iters=8)
""")
    return path


def test_a_fusion_of_ones_own_joins_the_table(small, tmp_path, monkeypatch, capsys):
    (tmp_path / "gate_of_mine.py").write_text(GATE)
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "out"
    command = ["fusion", "--preset", "smoke", "--out", str(out), "--jobs", "2"]
    assert benchmark.main([*command, "--configs", str(small), "--fusion", "gate_of_mine.Gate"]) == 0
    records = json.loads((out / "results.json").read_text())["suites"]["fusion"]
    assert [record["arm"] for record in records] == ["small", "gate_of_mine.Gate"]
    assert records[0]["parameters"] == pytest.approx(records[1]["parameters"], rel=0.02)
    assert "| gate_of_mine.Gate |" in (out / "report.md").read_text()
    first = (out / "report.md").read_bytes()
    assert benchmark.main(["report", str(out)]) == 0
    assert (out / "report.md").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["report"], "report needs a folder"),
        (["report", "nowhere"], "no results.json in 'nowhere'"),
        (["fusion", "--preset", "quik"], "did you mean 'quick'"),
        (["fusion", "--fusion", "feature=Add"], "unknown fusion site 'feature': did you mean 'features'"),
        (["fusion", "--jobs", "0"], "--jobs is 0"),
        (["fusion", "somewhere"], "only report takes a folder"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, says, capsys):
    assert benchmark.main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert says in error
