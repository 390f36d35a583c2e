"""What reaches the console, and the fingerprint of weights."""

import torch
from engine_fakes import train
from torch import nn

from jepa_t.files import weights_hash


def test_the_console_shows_no_dumps_but_the_log_file_has_them(tmp_path, capsys):
    train(tmp_path, 4, log_level="INFO")
    shown = capsys.readouterr().out
    assert "Iter(train) [4/4]" in shown
    assert "System environment" not in shown
    assert len(shown.splitlines()) < 12
    (log,) = tmp_path.glob("*/*.log")
    assert "System environment" in log.read_text()


def test_the_hash_changes_with_any_weight():
    one = nn.Linear(2, 2)
    other = nn.Linear(2, 2)
    other.load_state_dict(one.state_dict())
    assert weights_hash(one) == weights_hash(other)
    with torch.no_grad():
        other.weight[0, 0] += 1e-6
    assert weights_hash(one) != weights_hash(other)
