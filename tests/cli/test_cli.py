"""The command: what it lists, its exit codes, and the words that go with them."""

import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from jepa_t import cli
from jepa_t.cli import COMMANDS, main
from jepa_t.cli.shared import resume_command
from jepa_t.engine.checkpoint import Interrupted
from jepa_t.errors import UserError


def test_what_there_is_is_told_at_once():
    """Without a second's wait for PyTorch."""
    script = "import sys\nfrom jepa_t.cli import main\nmain([])\nsys.exit('torch' in sys.modules)"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start < 5  # 0.1 s on a quiet machine
    for name, what in COMMANDS.items():
        assert f"{name} " in done.stdout
        assert what in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_answers_to_help(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    assert f"usage: jepa-t {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["trian"], "unknown command 'trian': did you mean 'train'?"),
        (["train"], "required: config; see jepa-t train --help"),
        (["train", "jepat_digit"], "unknown config 'jepat_digit': did you mean 'jepat_digits'?"),
        (["train", "jepat_digits", "--wrok-dir", "x"], "unrecognized arguments: --wrok-dir x"),
        (["convert", "dejpa", "IN", "OUT"], "invalid choice: 'dejpa'"),
        (["evaluate", "a", "b", "--out="], "--out is empty; give a value, or leave it out"),
        (["publish", "a", "b", "--captions", "a red three", ""], "--captions is empty"),
        (["sample", "a", "b", "--guidance", "nan"], "--guidance is nan, which is no number"),
        (["statistics", "a", "b", "--batch-size", str(10**20)], "--batch-size is 100000000000000000000; whole numbers"),
    ],
)
def test_mistakes_of_the_command_line_are_one_line(words, says, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert says in said
    assert said.count("\n") == 1


@pytest.fixture
def fails(monkeypatch):
    """The command ``train``, if its module raised this."""

    def fails(raised, *words):
        def run(args):
            if raised:
                raise raised

        module = SimpleNamespace(add_arguments=lambda parser: None, run=run)
        monkeypatch.setattr(cli.importlib, "import_module", lambda *_: module)
        return main(["train", *words])

    return fails


@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [
        (None, 0, ""),
        (UserError("lr is -1"), 2, "error: lr is -1\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
        (Interrupted("saved a.pth"), 130, "saved a.pth\n"),
    ],
)
def test_exit_codes(fails, capsys, raised, code, says):
    assert fails(raised) == code
    assert capsys.readouterr().err == says


def test_a_mistake_shows_where_it_lies_if_asked(fails, capsys):
    assert fails(UserError("lr is -1"), "--traceback") == 2
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert "raise raised" in said
    assert said.endswith("\nerror: lr is -1\n")


def test_a_defect_of_ours_keeps_its_traceback(fails):
    with pytest.raises(RuntimeError):
        fails(RuntimeError("a bug"))


@pytest.mark.parametrize(
    ("script", "alone", "again"),
    [
        ("/venv/bin/jepa-t", "jepa-t train", "-m jepa_t train"),
        ("/venv/jepa_t/__main__.py", "python -m jepa_t train", "-m jepa_t train"),
        ("tools/train.py", "python tools/train.py", "tools/train.py"),
    ],
)
def test_the_command_to_go_on(monkeypatch, script, alone, again):
    for variable in ("WORLD_SIZE", "GROUP_WORLD_SIZE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "argv", [script])
    start, rest = ["train", "c.py", "--work-dir", "my dir"], "c.py --work-dir 'my dir' --resume"
    assert resume_command(start, None) == f"{alone} {rest}"
    for checkpoint in ([], ["auto"], ["my dir/iter_3.pth"]):
        resumed = checkpoint[0] if checkpoint else "auto"
        assert resume_command([*start, "--resume", *checkpoint], resumed) == f"{alone} {rest}"
    assert resume_command(["train", "c.py", "--work-dir", "auto"], None) == f"{alone} c.py --work-dir auto --resume"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert resume_command(start, None) == f"the same launcher and {again} {rest}"
    monkeypatch.setenv("GROUP_WORLD_SIZE", "1")
    assert resume_command(start, None) == f"torchrun --nproc_per_node 2 {again} {rest}"


class Dies:
    """What is raised while it is finalised."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)


def test_a_ctrl_c_that_a_finaliser_would_lose_comes_again(monkeypatch, capsys):
    def run(_args):
        del [Dies(signal.SIGINT)][:]
        time.sleep(10)  # else the work would go on to its end

    monkeypatch.setitem(sys.modules, "jepa_t.cli.train", SimpleNamespace(__doc__="", add_arguments=bool, run=run))
    hook, start = sys.unraisablehook, time.perf_counter()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever an earlier test has left
    assert main(["train"]) == 130
    signal.signal(signal.SIGINT, before)
    assert time.perf_counter() - start < 5
    assert sys.unraisablehook is hook
    assert capsys.readouterr() == ("", "stopped\n")
