"""A work dir belongs to one training."""

import errno
import os
import signal
import subprocess
import sys

import pytest
from engine_fakes import ENV, TinyModel, tiny_config, train

from jepa_t.engine import JEPATRunner
from jepa_t.engine.work_dir import locked
from jepa_t.errors import UserError

HOLD = """
import multiprocessing, sys, time
from pathlib import Path
from jepa_t.engine import JEPATRunner
from jepa_t.engine.work_dir import locked

with locked(Path(sys.argv[1])):
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))  # as a loader's worker
    child.start()
    print(child.pid, flush=True)
    time.sleep(60)
"""


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_a_second_training_is_refused_and_leaves_all_as_it_is(tmp_path):
    train(tmp_path, 4)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in files(tmp_path)}
    with pytest.raises(UserError, match=r"up to iter_4\.pth; go on with --resume, .* --work-dir, .* --overwrite"):
        train(tmp_path, 6)
    (tmp_path / "other").mkdir()
    (tmp_path / "iter_4.pth").rename(tmp_path / "other" / "iter_4.pth")
    with pytest.raises(UserError, match=r"up to iter_3\.pth"):
        train(tmp_path, 6, resume=True, load_from=str(tmp_path / "other" / "iter_4.pth"))
    (tmp_path / "other" / "iter_4.pth").rename(tmp_path / "iter_4.pth")
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in files(tmp_path)} == before


def test_only_what_a_killed_training_left_half_written_is_cleared_away(tmp_path):
    train(tmp_path, 4)
    kept, unfinished = (tmp_path / ".mine.tmp" / "thesis.txt", tmp_path / ".notes.tmp"), tmp_path / ".iter_5.pth.tmp"
    kept[0].parent.mkdir()
    for file in (*kept, unfinished):
        file.write_text("half")
    with pytest.raises(UserError):
        train(tmp_path, 6)
    assert unfinished.exists()
    train(tmp_path, 6, resume=True)
    assert not unfinished.exists()
    assert all(file.exists() for file in kept)


def test_overwriting_leaves_nothing_of_the_first_training(tmp_path):
    train(tmp_path, 40)
    for name in (".iter_7.pth.tmp", "metrics.json"):  # of a process that was killed, and of the first's weights
        (tmp_path / name).touch()
    (tmp_path / ".model.tmp" / "half").mkdir(parents=True)
    train(tmp_path, 2, overwrite=True)
    assert [name for name in files(tmp_path) if not name.endswith(".py")] == ["iter_2.pth", "last_checkpoint"]


def test_a_refused_start_overwrites_nothing(tmp_path):
    train(tmp_path, 4)
    (tmp_path / "metrics.json").touch()
    before = files(tmp_path)
    empty = tiny_config(tmp_path).train_dataloader.to_dict() | {"dataset": {"type": "TinyData", "size": 0}}
    with pytest.raises(UserError, match="TinyData is empty"):
        train(tmp_path, 2, overwrite=True, train_dataloader=empty)
    assert files(tmp_path) == before
    assert "'size': 0" not in next(tmp_path.glob("*.py")).read_text()


def test_to_go_on_and_to_overwrite_are_not_both_asked(tmp_path):
    train(tmp_path, 4)
    with pytest.raises(UserError, match=r"resume goes on with .* overwrite replaces it; give one of them"):
        train(tmp_path, 6, resume=True, overwrite=True)
    assert (tmp_path / "iter_4.pth").exists()


def test_a_test_leaves_the_trainings_config(tmp_path):
    train(tmp_path, 1)
    JEPATRunner.from_cfg(tiny_config(tmp_path, 7))
    assert not any("'max_iters': 7" in file.read_text() for file in tmp_path.glob("*.py"))


def test_a_folder_is_locked_until_its_process_ends_however(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], env=ENV, stdout=subprocess.PIPE, text=True)
    child = int(holder.stdout.readline())
    with pytest.raises(UserError, match="another process is training in"), locked(tmp_path):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with locked(tmp_path):  # though the child lives on
        pass
    os.kill(child, signal.SIGKILL)
    assert not files(tmp_path)


def test_a_full_disk_is_told_with_the_way_on(tmp_path, monkeypatch):
    step = TinyModel.train_step

    def full(self, *args, **kwargs):
        if self.steps == 4:
            raise OSError(errno.ENOSPC, "No space left on device", "iter_6.pth")
        return step(self, *args, **kwargs)

    monkeypatch.setattr(TinyModel, "train_step", full)
    with pytest.raises(UserError, match=r"No space left on device: 'iter_6\.pth'; make room.*iter_3\.pth"):
        train(tmp_path)
