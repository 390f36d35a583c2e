"""Exit codes, and the words that go with them."""

import pytest

from jepa_t.engine.checkpoint import Interrupted
from jepa_t.engine.cli import friendly, resume_command
from jepa_t.errors import UserError


@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [
        (None, 0, ""),
        (UserError("lr is -1"), 2, "error: lr is -1\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
        (Interrupted("saved a.pth"), 130, "saved a.pth\n"),
    ],
)
def test_exit_codes(capsys, raised, code, says):
    @friendly
    def main():
        if raised:
            raise raised

    assert main() == code
    assert capsys.readouterr().err == says


def test_a_defect_of_ours_keeps_its_traceback():
    @friendly
    def main():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        main()


def test_the_command_to_go_on(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    start = ["tools/train.py", "c.py", "--work-dir", "my dir"]
    whole = "python tools/train.py c.py --work-dir 'my dir' --resume"
    assert resume_command(start, None) == whole
    assert resume_command([*start, "--resume"], "auto") == whole
    assert resume_command([*start, "--resume", "auto"], "auto") == whole
    assert resume_command([*start, "--resume", "my dir/iter_3.pth"], "my dir/iter_3.pth") == whole
    assert resume_command(["c.py", "--work-dir", "auto"], None) == "python c.py --work-dir auto --resume"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert resume_command(start, None).startswith("the same launcher and tools/train.py")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "1")
    assert resume_command(start, None).startswith("torchrun --nproc_per_node 2 tools/train.py")
