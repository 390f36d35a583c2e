"""The launch script hands everything on to torchrun."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "dist_train.sh"


def start(tmp_path, *words, **variables):
    """Run the script with a torchrun that only says how it was called."""
    stub = tmp_path / "torchrun"
    stub.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\nexit 7\n")
    stub.chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | variables
    return subprocess.run([SCRIPT, *words], env=env, capture_output=True, text=True)


def test_options_keep_their_words_and_torchrun_its_exit_code(tmp_path):
    done = start(tmp_path, "configs/a.py", "8", "--resume", "--work-dir", "my dir")
    said = done.stdout.splitlines()
    assert said[:3] == ["--standalone", "--nproc_per_node", "8"]
    assert Path(said[3]).samefile(SCRIPT.parent / "train.py")
    assert said[4:] == ["configs/a.py", "--launcher", "pytorch", "--resume", "--work-dir", "my dir"]
    assert done.returncode == 7


def test_several_machines_come_from_the_environment(tmp_path):
    said = start(tmp_path, "c.py", "4", NNODES="2", NODE_RANK="1", MASTER_ADDR="first", PORT="1234").stdout.splitlines()
    where = ["--nnodes", "2", "--node_rank", "1", "--master_addr", "first", "--master_port", "1234"]
    assert said[: len(where)] == where


@pytest.mark.parametrize("words", [[], ["c.py"]])
def test_without_arguments_it_says_what_it_needs(tmp_path, words):
    done = start(tmp_path, *words)
    assert done.returncode == 2
    assert "CONFIG GPUS" in done.stderr
