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


def test_the_command_to_go_on():
    start = ["tools/train.py", "c.py", "--work-dir", "my dir"]
    assert resume_command(start) == "python tools/train.py c.py --work-dir 'my dir' --resume"
    assert resume_command([*start, "--resume"]) == "python tools/train.py c.py --work-dir 'my dir' --resume"
