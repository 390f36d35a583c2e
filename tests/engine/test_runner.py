"""What reaches the console, and the fingerprint of weights."""

import pytest
import torch
from engine_fakes import TinyMetric, tiny_config, train
from torch import nn

from jepa_t.engine import JEPATRunner, apply
from jepa_t.errors import UserError
from jepa_t.files import weights_hash
from jepa_t.registry import METRICS


def test_the_console_shows_no_dumps_but_the_log_file_has_them(tmp_path, capsys):
    train(tmp_path, 4, log_level="INFO")
    shown = capsys.readouterr().out
    assert "Iter(train) [4/4]" in shown
    assert "System environment" not in shown
    assert len(shown.splitlines()) < 12
    (log,) = tmp_path.glob("*/*.log")
    assert "System environment" in log.read_text()


LOADER, WRAPPER = (tiny_config("")[name].to_dict() for name in ("train_dataloader", "optim_wrapper"))
TEST = {
    "test_dataloader": LOADER | {"dataset": {"type": "TinyPrompts"}, "sampler": {"type": "DefaultSampler"}},
    "test_cfg": {"type": "TestLoop"},
    "test_evaluator": {"type": "TinyMetric"},
}
DEFAULT, REHEARSAL = {"collate_fn": {"type": "default_collate"}}, {"custom_hooks": [{"type": "RehearsalHook"}]}
LOOP = {"type": "TrainLoop", "max_iters": 6}
VALIDATION = {name.replace("test", "val"): value for name, value in TEST.items()} | {"val_cfg": {"type": "ValLoop"}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_dataloader": LOADER | {"batch_size": 1.5}}, "batch_size of a data loader is 1.5"),
        ({"randomness": {"seed": 0, "diff_rank_seed": True}}, "diff_rank_seed=True: leave it out"),
        ({"train_dataloader": LOADER | {"batch_size": 2**40}}, "must be at most 1048576"),
        ({"train_dataloader": LOADER | {"num_workers": 2**40}}, "must be at most 1024"),
        (TEST | {"test_dataloader": TEST["test_dataloader"] | {"batch_size": float("inf")}}, "data loader is inf"),
        (TEST | {"test_evaluator": {"type": "TinyMetric", "x": 1}}, "test_evaluator: .* unexpected keyword argument"),
        ({"optim_wrapper": WRAPPER | {"constructor": 3}}, "optim_wrapper: "),
        ({"optim_wrapper": WRAPPER | {"type": "OptimWrapper"}}, "use GuardedOptimWrapper"),
        ({"optim_wrapper": WRAPPER | {"clip_grad": {"max_norm": "x"}}}, "max_norm is 'x'"),
        ({"env_cfg": {"dist_cfg": {"bakend": 1}}}, "did you mean 'backend'"),
        ({"train_dataloader": LOADER | DEFAULT, **REHEARSAL}, "train_dataloader.collate_fn gives KeyError.*keep_batch"),
        (
            TEST | {"test_dataloader": TEST["test_dataloader"] | DEFAULT, **REHEARSAL},
            "test_dataloader.collate_fn gives",
        ),
        ({"optim_wrapper": WRAPPER | {"clip_grad": {"max_norm": True}}}, "max_norm is True"),
        ({"optim_wrapper": WRAPPER | {"optimizer": {"type": "AdamW", "lr": float("inf")}}}, "AdamW: lr is inf"),
        (
            {"optim_wrapper": WRAPPER | {"optimizer": {"type": "AdamW", "differentiable": True}}},
            "AdamW: .*differentiable",
        ),
        ({"env_cfg": {"dist_cfg": {"backend": float("nan")}}}, "unknown env_cfg.dist_cfg.backend 'nan'"),
        (TEST | {"test_evaluator": []}, "measures nothing"),
        ({"log_processor": {"by_epoch": True}}, "log_processor.by_epoch is True"),
        ({"log_processor": {"mean_pattern": 7}}, "log_processor.mean_pattern is 7; LogProcessor takes a text"),
        ({"train_dataloader": LOADER | {"collate_fn": {}}}, "a type is a registered name"),
        ({"load_from": 3}, "load_from is 3"),
        ({"train_cfg": LOOP | {"val_interval": 1}}, "val_interval is 1, and the config has no validation"),
        (
            VALIDATION | {"train_cfg": LOOP | {"val_interval": 7}},
            "val_interval is 7, which is more than .*max_iters, 6",
        ),
        ({"randomness": {"seed": -1}}, "Seed must be between"),
    ],
)
def test_what_would_fail_later_is_told_before_the_first_step(tmp_path, changes, says):
    with pytest.raises(UserError, match=says):
        train(tmp_path, **changes)


def test_keys_that_act_nowhere_are_said_to_be_ignored(tmp_path, said):
    keys = {"sync_bn": "torch", "find_unused_parameters": True, "model_wrapper_cfg": {"broadcast_buffers": True}}
    train(tmp_path, 1, **keys, auto_scale_lr={"base_batch_size": 3})
    assert [line.partition(" is ignored: ")[0] for line in said if "is ignored" in line] == [*keys, "auto_scale_lr"]


def test_the_hash_changes_with_any_weight():
    one = nn.Linear(2, 2)
    other = nn.Linear(2, 2)
    other.load_state_dict(one.state_dict())
    assert weights_hash(one) == weights_hash(other)
    with torch.no_grad():
        other.weight[0, 0] += 1e-6
    assert weights_hash(one) != weights_hash(other)


@METRICS.register_module(force=True)
class WatchfulMetric(TinyMetric):
    """Says how it is asked: how many images will come, and the precision of a product."""

    asked = None

    def prepare(self, model, count):
        WatchfulMetric.asked = type(model).__name__, count

    def process(self, data_batch, data_samples):
        assert self.asked
        self.results += [self.product()] * len(data_samples)

    def compute_metrics(self, results):
        return {"full": float(all(product == torch.float32 for product in [*results, self.product()]))}

    @staticmethod
    def product():
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


def test_any_test_prepares_its_metrics_and_judges_in_full_precision(tmp_path):
    apply()
    runner = JEPATRunner.from_cfg(tiny_config(tmp_path, **TEST | {"test_evaluator": {"type": "WatchfulMetric"}}))
    with torch.autocast("cpu", torch.bfloat16):
        figures = runner.test()
    assert figures == {"full": 1.0}
    assert WatchfulMetric.asked == ("TinyModel", len(runner.test_dataloader.dataset))
