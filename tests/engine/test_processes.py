"""Several processes are one: the same weights, the same place in the data, and the same end."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from engine_fakes import tiny_config
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from shared_training import OBJECTIVES, train, write_configs

from jepa_t import randomness
from jepa_t.engine.compat import distribute
from jepa_t.errors import UserError
from jepa_t.files import load_checkpoint
from jepa_t.randomness import generators, own_rows

HERE = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def together(script, *words, **options):
    """Run a script in two processes."""
    path = os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    words = [*TORCHRUN, str(script), *map(str, words)]
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=300, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Four steps by one process and by two, and two steps by one and two more by two."""
    folder = tmp_path_factory.mktemp("processes")
    write_configs(folder)
    for name in OBJECTIVES:
        train(folder / f"{name}.py", folder / "one" / name, 4)
    done = together(HERE / "shared_training.py", folder)
    assert done.returncode == 0, done.stderr
    return folder


def assert_close(one, other):
    one, other = (load_checkpoint(str(path)) for path in (one, other))
    assert one["meta"]["train_samples"] == other["meta"]["train_samples"]
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(value, other["state_dict"][name], rtol=1e-5, atol=1e-5, msg=name)


def moved(folder):
    """The largest change of a trained weight between two checkpoints."""
    first, last = (load_checkpoint(str(folder / f"iter_{n}.pth"))["state_dict"] for n in (2, 4))
    return max((first[name] - last[name]).abs().max() for name in first if name.startswith("network."))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_of_half_the_batch_equal_one_of_the_whole(trained, name):
    assert moved(trained / "one" / name) > 1e-2
    assert_close(trained / "one" / name / "iter_4.pth", trained / "two" / name / "iter_4.pth")


def test_two_processes_go_on_where_one_stopped(trained):
    assert_close(trained / "one" / "flow" / "iter_4.pth", trained / "one_two" / "iter_4.pth")


def test_one_process_goes_on_where_two_stopped(trained):
    train(trained / "flow.py", trained / "two_one", 4, trained / "two" / "flow" / "iter_2.pth")
    assert_close(trained / "one" / "flow" / "iter_4.pth", trained / "two_one" / "iter_4.pth")


def test_a_signal_to_one_process_ends_all_after_the_same_step(trained):
    first, second = ((trained / "stopped" / rank).read_text() for rank in "01")
    assert first == second
    assert "stopped after step 4; saved" in first
    assert (trained / "stopped" / "iter_4.pth").exists()


def test_the_back_end_follows_the_device(monkeypatch):
    started = []
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.distributed, "init_process_group", started.append)
    cfg = Config({"launcher": "pytorch", "env_cfg": {"cudnn_benchmark": True, "dist_cfg": {"backend": "nccl"}}})
    distribute(cfg)
    assert started == ["gloo"]
    assert cfg.env_cfg == {"cudnn_benchmark": True, "dist_cfg": {"backend": "gloo"}}
    cfg.launcher = "slurm"
    with pytest.raises(UserError, match="needs GPUs; on CPUs use torchrun"):
        distribute(cfg)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cfg = Config({"launcher": "pytorch", "env_cfg": {"dist_cfg": {"backend": "nccl"}}})
    distribute(cfg)
    assert cfg.env_cfg.dist_cfg.backend == "nccl"


KILLED = """
import os, runpy, signal, sys
from mmengine.model import MMDistributedDataParallel

train_step, calls = MMDistributedDataParallel.train_step, []

def dies(self, *args, **options):
    calls.append(0)
    if len(calls) == 5 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return train_step(self, *args, **options)

MMDistributedDataParallel.train_step = dies
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_killed_process_ends_the_others_with_a_line_and_the_way_back(tmp_path):
    cfg = tiny_config(tmp_path / "work", 100_000)
    (tmp_path / "tiny.py").write_text(cfg.pretty_text + '\ncustom_imports = dict(imports=["engine_fakes"])')
    (tmp_path / "killed.py").write_text(KILLED)
    tool = HERE.parents[1] / "tools" / "train.py"
    started = time.monotonic()
    done = together(tmp_path / "killed.py", tool, tmp_path / "tiny.py", "--launcher", "pytorch")
    assert time.monotonic() - started < 120  # imports beside busy neighbours; 100,000 steps take longer
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "process 0 lost another process" in line
    assert "go on with: torchrun --nproc_per_node 2" in line
    assert line.endswith("--resume")


@given(batch=st.integers(1, 4), world=st.integers(1, 4), seed=st.integers(0, 99), dim=st.integers(0, 1))
def test_the_rows_of_all_processes_are_those_of_one(batch, world, seed, dim):
    def rows(size, rank=0, processes=1):
        shape = [3, 3, 3]
        shape[dim] = size
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(randomness, "get_dist_info", lambda: (rank, processes))
            return own_rows(torch.rand, shape, dim, generator=generators(seed, torch.device("cpu"))[0])

    shares = torch.stack([rows(batch, rank, world) for rank in range(world)], dim + 1).flatten(dim, dim + 1)
    assert torch.equal(shares, rows(batch * world))
