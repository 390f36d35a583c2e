"""The README keeps its word: the snippet trains, the tree is true, the commands exist."""

import re

from pages import ROOT, named, restored

from jepa_t.cli import COMMANDS
from jepa_t.engine import JEPATRunner, load_config

PAGE = ROOT / "README.md"
README = PAGE.read_text()
SMALL = [
    "train_cfg.max_iters=2",
    "train_dataloader.batch_size=4",
    "train_dataloader.dataset.size=50",
    "log_level=WARNING",
    "threads=1",
]


def test_the_fusion_of_ten_lines_trains(tmp_path, monkeypatch):
    code = named(PAGE, "gate.py")
    assert len([line for line in code.splitlines()[1:] if line.strip()]) <= 10
    (tmp_path / "gate.py").write_text(code)
    (tmp_path / "my_gate.py").write_text(named(PAGE, "my_gate.py"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with restored():
        runner = JEPATRunner.from_cfg(load_config("my_gate.py", SMALL, str(tmp_path / "work")))
        gate = runner.model.network.fusion["objective"]
        assert type(gate).__name__ == "Gate"
        before = gate.proj.weight.clone()
        runner.train()
    assert not before.equal(gate.proj.weight)


def test_the_tree_names_what_is_there():
    listed = re.findall(r"^  (\w+(?:\.py|/))  ", README, re.M)
    package = ROOT / "jepa_t"
    there = [f"{p.name}/" if p.is_dir() else p.name for p in package.iterdir() if p.name[0] != "_"]
    assert sorted(listed) == sorted({*there} - {"py.typed"})


def test_every_command_is_listed_and_has_its_script():
    assert re.findall(r"^\| `jepa-t ([\w-]+)", README, re.M) == list(COMMANDS)
    scripts = [path.read_text() for path in (ROOT / "tools").glob("*.py")]
    for name in COMMANDS:
        assert sum(f'main(["{name}", *sys.argv[1:]])' in script for script in scripts) == 1


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("http") or (ROOT / link).exists(), link
