"""A checkpoint is data: nothing in it runs, nothing half-written is ever seen."""

import errno
import os
import pickle
import re

import numpy as np
import pytest
import torch

from jepa_t.engine.compat import save_checkpoint
from jepa_t.errors import UserError
from jepa_t.files import find_checkpoint, load_checkpoint, read_safely, write_atomically, write_weights


class Bomb:
    """Unpickled by an unsafe reader, it makes a folder."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("form", ["pickle", "zip", "legacy"])
def test_a_malicious_file_is_refused_and_runs_nothing(tmp_path, form):
    file, target = tmp_path / "evil.pth", tmp_path / "owned"
    content = {"state_dict": {"w": torch.zeros(2)}, "meta": Bomb(target)}
    if form == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(UserError, match=r"evil\.pth"):
        load_checkpoint(str(file))
    assert not target.exists()


def test_the_refusal_names_what_the_file_calls(tmp_path):
    file = tmp_path / "evil.pth"
    torch.save({"state_dict": {"w": torch.zeros(2)}, "meta": Bomb(tmp_path / "owned")}, file)
    with pytest.raises(UserError, match=r"posix\.mkdir"):
        load_checkpoint(str(file))


def test_absent_truncated_and_foreign_files_are_told_in_one_line(tmp_path):
    whole, short, text = (tmp_path / name for name in ("whole.pth", "short.pth", "text.pth"))
    torch.save({"state_dict": {"w": torch.zeros(1000)}}, whole)
    short.write_bytes(whole.read_bytes()[:1500])
    text.write_text("hello")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("absent.pth", "short.pth", "text.pth", "list.pth"):
        with pytest.raises(UserError, match=re.escape(name)) as caught:
            load_checkpoint(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_plain_data_and_numpy_survive(tmp_path):
    content = {"state_dict": {"w": torch.ones(2)}, "meta": {"best": np.float64(0.5), "counts": np.arange(3)}}
    save_checkpoint(content, str(tmp_path / "a.pth"))
    loaded = load_checkpoint(str(tmp_path / "a.pth"))
    assert loaded["meta"]["best"] == 0.5
    assert loaded["meta"]["counts"].tolist() == [0, 1, 2]


def test_a_file_is_old_or_new_and_never_half(tmp_path):
    file = tmp_path / "a.pth"
    write_atomically(file, lambda f: f.write(b"old"))

    def die(f):
        f.write(b"half")
        f.flush()
        assert file.read_bytes() == b"old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(file, die)
    assert file.read_bytes() == b"old"
    with file.open("rb") as reader:
        write_atomically(file, lambda f: f.write(b"new"))
        assert (reader.read(), file.read_bytes()) == (b"old", b"new")
    assert os.listdir(tmp_path) == ["a.pth"]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    """``torch.save`` itself hides what the disk says."""

    class Full:
        def __init__(self, file):
            self.file, self.room = file, 1000

        def write(self, data):
            self.room -= len(data)
            if self.room < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(data)

        def flush(self):
            self.file.flush()

    with pytest.raises(OSError, match=r"No space left on device: '.*a\.pth'"):
        write_atomically(tmp_path / "a.pth", lambda file: torch.save({"w": torch.zeros(10_000)}, Full(file)))
    assert not os.listdir(tmp_path)


def saved(folder, step):
    """A checkpoint, later than those before."""
    file = folder / f"iter_{step}.pth"
    torch.save({"state_dict": {"w": torch.arange(1000.0)}}, file)
    (folder / "last_checkpoint").write_text(file.name)
    os.utime(file, (step, step))
    return file


def flip(file, place=2000):
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def test_a_flipped_bit_is_noticed(tmp_path):
    file = saved(tmp_path, 3)
    load_checkpoint(str(file))
    flip(file)
    with pytest.raises(UserError, match=r"iter_3\.pth' is damaged \(the checksum of .*data/0 is wrong"):
        load_checkpoint(str(file))


def test_a_flipped_bit_of_safetensors_is_noticed(tmp_path):
    file = tmp_path / "a.safetensors"
    write_weights(file, {"w": torch.arange(1000.0), "flag": torch.tensor(True)})
    assert read_safely(str(file))["w"][7] == 7
    flip(file)
    with pytest.raises(UserError, match="damaged: its weights have changed"):
        read_safely(str(file))


@pytest.mark.parametrize(
    ("harm", "found", "says"),
    [
        (lambda folder: None, "iter_30.pth", None),
        (lambda folder: flip(folder / "iter_30.pth"), "iter_20.pth", r"iter_30\.pth' is damaged .*; taking .*iter_20"),
        (lambda folder: (folder / "iter_30.pth").write_bytes(b""), "iter_20.pth", "no file of torch.save"),
        (lambda folder: (folder / "iter_30.pth").unlink(), "iter_20.pth", r"names 'iter_30\.pth', which isn't there"),
        (lambda folder: (folder / "last_checkpoint").unlink(), "iter_30.pth", None),
        (lambda folder: (folder / "last_checkpoint").write_bytes(b"\0\0\xff"), "iter_30.pth", "which isn't there"),
        (lambda folder: (folder / "last_checkpoint").write_text("iter_9.pth\n"), "iter_9.pth", None),
    ],
)
def test_the_newest_undamaged_checkpoint_is_found(tmp_path, caplog, harm, found, says):
    for step in (9, 20, 30):
        saved(tmp_path, step)
    harm(tmp_path)
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / found)
    assert [bool(re.search(says or "-", text)) for text in caplog.messages] == [True] * (says is not None)


def test_no_checkpoint_is_told(tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint in .*; train first"):
        find_checkpoint(str(tmp_path))
    flip(saved(tmp_path, 3))
    with pytest.raises(UserError, match=r"iter_3\.pth' is damaged"):
        find_checkpoint(str(tmp_path))
    assert find_checkpoint(str(tmp_path / "iter_3.pth")) == str(tmp_path / "iter_3.pth")
