"""Caching latents as a person does it: once, again after a kill, on two processes, and verified."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from image_files import damage, write_classes
from tiny import pretrained_kl

from jepa_t.cli import main

ROOT = Path(__file__).parents[2]

ENV = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
CONFIG = """
default_scope = "jepa_t"
threads = 1
model = dict(type="JEPAT", image_tokenizer=dict(type="KLTokenizer", source={source!r}, size=(8, 8)))
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    dataset=dict(
        type="CachedLatents",
        folder={folder!r},
        dataset=dict(type="ImageNet", root={root!r}, size=8, names=["a", "b", "c"], max_broken=0.5),
    ),
)
"""


@pytest.fixture
def config(tmp_path):
    root = write_classes(tmp_path / "set", (40, 40, 40))
    damage(root / "train" / "n00000001" / "7.JPEG")
    facts = {"source": pretrained_kl()["source"], "folder": str(tmp_path / "cache"), "root": str(root)}
    (tmp_path / "small.py").write_text(CONFIG.format(**facts))
    return tmp_path / "small.py"


def words(config, *more):
    return ["cache-latents", str(config), "--batch-size", "4", "--shard", "2", *map(str, more)]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_killed_run_and_two_processes_write_what_one_writes(config, tmp_path, capsys):
    assert main(words(config)) == 0
    assert "120 images in" in capsys.readouterr().out
    expected = contents(tmp_path / "cache")
    assert len(expected) == 121

    command = [sys.executable, "-m", "jepa_t", *words(config, "--out", tmp_path / "killed")]
    process = subprocess.Popen(command, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / "00002.json").exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert 3 <= len(list((tmp_path / "killed").glob("0*.json"))) < 60
    starter = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*starter, *command[1:], "--launcher", "pytorch"], env=ENV, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "process 0: shard" in done.stdout
    assert "process 1: shard" in done.stdout
    assert contents(tmp_path / "killed") == expected


def test_verify_names_what_is_damaged(config, tmp_path, capsys):
    assert main(words(config)) == 0
    assert "1 are broken, named in" in capsys.readouterr().out
    assert main(["cache-latents", str(config), "--verify"]) == 0
    assert "60 of 60 shards are whole" in capsys.readouterr().out
    path = tmp_path / "cache" / "00003.bin"
    data = bytearray(path.read_bytes())
    data[-1] ^= 4
    path.write_bytes(data)
    (tmp_path / "cache" / "00005.json").unlink()
    assert main(["cache-latents", str(config), "--verify"]) == 2
    out = capsys.readouterr().out
    assert "shard 00003 is damaged" in out
    assert "shard 00005 isn't there" in out
    assert "58 of 60" in out


def test_a_config_without_a_cache_needs_a_folder(config, capsys):
    options = ["--cfg-options", "train_dataloader.dataset={'type': 'InkedDigits'}"]
    assert main(["cache-latents", str(config), *options]) == 2
    assert "give --out DIR" in capsys.readouterr().err
    assert main(["cache-latents", str(config), "--verify"]) == 2
    assert "holds no cache of latents" in capsys.readouterr().err


def test_the_folder_of_a_config_may_lie_in_the_home_folder(config, tmp_path, monkeypatch, capsys):
    """As the training reads it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    options = ["--cfg-options", "train_dataloader.dataset.folder=~/cache"]
    assert main(["cache-latents", str(config), "--verify", *options]) == 2
    assert str(tmp_path / "home" / "cache") in capsys.readouterr().err


def test_the_benchmark_reads_both_formats(tmp_path):
    arguments = ["--images", "64", "--batch-size", "16", "--shard", "20", "--folder", str(tmp_path), "--pairs", "2"]
    command = [sys.executable, str(ROOT / "tools" / "benchmark_latents.py"), *arguments]
    out = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=300, check=True).stdout
    assert out.count("images/s   ratio") == 2
    assert "packed / archives" in out
    assert list(tmp_path.iterdir()) == []
