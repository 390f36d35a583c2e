"""A checkpoint is data: nothing in it runs, nothing half-written is ever seen."""

import os
import pickle
import re

import numpy as np
import pytest
import torch

from jepa_t.engine.compat import save_checkpoint
from jepa_t.errors import UserError
from jepa_t.files import load_checkpoint, write_atomically


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


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    file = tmp_path / "a.pth"
    write_atomically(file, lambda f: f.write(b"old"))

    def die(f):
        f.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(file, die)
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.pth"]


def test_the_file_is_in_place_only_once_it_is_whole(tmp_path):
    file = tmp_path / "a.pth"

    def write(f):
        f.write(b"half")
        f.flush()
        assert not file.exists()

    write_atomically(file, write)
    assert file.read_bytes() == b"half"


def test_a_reader_of_the_old_file_is_not_disturbed(tmp_path):
    file = tmp_path / "a.pth"
    write_atomically(file, lambda f: f.write(b"old"))
    with file.open("rb") as reader:
        write_atomically(file, lambda f: f.write(b"new"))
        assert reader.read() == b"old"
    assert file.read_bytes() == b"new"
