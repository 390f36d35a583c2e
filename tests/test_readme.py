"""The README keeps its word: the snippet trains, the tree is true, the commands exist."""

import re
import subprocess
import sys
from pathlib import Path

from jepa_t.engine import JEPATRunner, load_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SMALL = [
    "train_cfg.max_iters=2",
    "train_dataloader.batch_size=4",
    "train_dataloader.dataset.size=50",
    "log_level=WARNING",
    "threads=1",
]


def snippet(name):
    return re.search(rf"```python\n# {re.escape(name)}\n(.*?)```", README, re.S)[1]


def test_the_fusion_of_ten_lines_trains(tmp_path, monkeypatch):
    code = snippet("gate.py")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    (tmp_path / "gate.py").write_text(code)
    base = str(ROOT / "configs" / "jepat_digits.py")
    config = snippet("configs/my_gate.py").replace("./jepat_digits.py", base)
    (tmp_path / "my_gate.py").write_text(config)
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg = load_config(str(tmp_path / "my_gate.py"), SMALL, str(tmp_path / "work"))
    runner = JEPATRunner.from_cfg(cfg)
    gate = runner.model.network.fusion["objective"]
    assert type(gate).__name__ == "Gate"
    before = gate.proj.weight.clone()
    runner.train()
    assert not before.equal(gate.proj.weight)


def test_the_tree_names_what_is_there():
    listed = re.findall(r"^  (\w+(?:\.py|/))  ", README, re.M)
    package = ROOT / "jepa_t"
    there = [f"{p.name}/" if p.is_dir() else p.name for p in package.iterdir() if not p.name.startswith("__")]
    assert sorted(listed) == sorted(there)


def test_every_tool_is_listed_and_answers_to_help():
    for tool in sorted((ROOT / "tools").glob("*.py")):
        assert f"`tools/{tool.name}" in README
        compile(tool.read_text(), tool.name, "exec")
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "sample.py", "--help"], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0
    assert "--guidance" in done.stdout


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("http") or (ROOT / link).exists(), link
