import functools
import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import ValLoop

from jepa_t.benchmark import Preset, runs
from jepa_t.benchmark.configs import configure
from jepa_t.benchmark.plan import rows
from jepa_t.benchmark.runs import execute, prompt_sets
from jepa_t.benchmark.suites import FUSIONS, SUBSETS
from jepa_t.engine import JEPATRunner, checkpoint
from jepa_t.errors import UserError
from jepa_t.objectives import flow_matching
from jepa_t.registry import MODELS, build
from jepa_t.sampling import MaskedSampler
from jepa_t.trainable import unwrap

TWO = Preset(seeds=2, steps={}, prompts=8)
LATE = {"model": {"fusion": "late"}}
TIMED = {"train_seconds", "test_seconds"}


def followed(cfg, folder, monkeypatch):
    """Initial weights, captions, orders and noise of a training."""
    cfg.work_dir = str(folder)
    seen = {"order": [], "noise": [], "captions": []}

    def interpolate(tokens, noise, time):
        seen["noise"].append(noise.clone())
        return original(tokens, noise, time)

    original = flow_matching.interpolate
    monkeypatch.setattr(flow_matching, "interpolate", interpolate)
    cfg.default_hooks.pop("rehearsal")  # which would be followed too
    runner = JEPATRunner.from_cfg(cfg)
    model = unwrap(runner.model)
    weights = {name: value.clone() for name, value in model.network.state_dict().items()}
    condition, loss = model.network.condition, model.loss
    model.network.condition = lambda tokens, split, text: (
        seen["order"].append(split.order.clone()) or condition(tokens, split, text)
    )
    model.loss = lambda images, captions, seed: seen["captions"].append(list(captions)) or loss(images, captions, seed)
    cfg.val_cfg = None
    runner._train_loop["val_interval"] = 0
    runner.train()
    monkeypatch.setattr(flow_matching, "interpolate", original)
    return weights, seen


@pytest.mark.parametrize("arm", [arm for arm in (*FUSIONS, *SUBSETS) if arm != "jepa_t"])
def test_parts_that_arms_share_begin_alike(small, arm):
    """Whatever has a name and a shape in common, but for the denoising head, whose width is matched."""

    def weights(arm):
        row = rows({"jepa_t": FUSIONS["jepa_t"], arm: (FUSIONS | SUBSETS)[arm]}, "own", small, TWO)[-1]
        torch.manual_seed(row.seed)
        return build(row.config.model.to_dict(), MODELS).network.state_dict()

    first, other = weights("jepa_t"), weights(arm)
    shared = [name for name in first.keys() & other.keys() if first[name].shape == other[name].shape]
    shared = [name for name in shared if ".head." not in name]
    if arm == "early":  # whose projections bear the names of other modules
        shared = [name for name in shared if not name.startswith("fusion.")]
    assert {name.split(".")[0] for name in shared} >= {"encoder", "predictor", "text_tokenizer", "objectives"}
    assert [name for name in shared if not torch.equal(first[name], other[name])] == []


def test_seeds_are_paired_over_arms(small, tmp_path, monkeypatch):
    weights, seen = followed(configure(small), tmp_path / "a", monkeypatch)
    other_weights, other = followed(configure(small, LATE), tmp_path / "b", monkeypatch)
    shared = weights.keys() & other_weights.keys()
    assert {name.split(".")[0] for name in shared} >= {"encoder", "predictor", "text_tokenizer", "objectives"}
    assert all(torch.equal(weights[name], other_weights[name]) for name in shared)
    assert seen["captions"] == other["captions"]
    for kind in ("order", "noise"):
        assert len(seen[kind]) == 16
        assert all(torch.equal(a, b) for a, b in zip(seen[kind], other[kind], strict=True))
    _, third = followed(configure(small, seed=1), tmp_path / "c", monkeypatch)
    assert third["captions"] != seen["captions"]


def test_a_killed_run_goes_on_and_gives_the_same_record(small, tmp_path):
    cfg = configure(small, steps=48, prompts=8)
    whole = execute(cfg, tmp_path / "whole")

    def kill(step):
        if step > 20:
            raise MemoryError

    with pytest.raises(MemoryError):
        execute(cfg, tmp_path / "killed", kill)
    assert not (tmp_path / "killed" / "record.json").exists()
    steps = []
    again = execute(cfg, tmp_path / "killed", steps.append)
    assert steps == [21, 41]  # not from step 1 again
    assert {k: v for k, v in again.items() if k not in TIMED} == {k: v for k, v in whole.items() if k not in TIMED}
    assert len(whole["curve"]) == 8
    assert json.loads((tmp_path / "killed" / "record.json").read_text()) == again
    assert execute(cfg, tmp_path / "killed", pytest.fail) == again


def test_a_run_killed_between_checkpoint_and_validation_lacks_no_point_of_its_curve(small, tmp_path, monkeypatch):
    cfg, validate = configure(small, steps=48, prompts=8), ValLoop.run

    def kill(loop):
        if loop.runner.iter == 12:
            raise MemoryError
        return validate(loop)

    monkeypatch.setattr(ValLoop, "run", kill)
    with pytest.raises(MemoryError):
        execute(cfg, tmp_path)
    monkeypatch.setattr(ValLoop, "run", validate)
    assert [*json.loads((tmp_path / "curve.json").read_text())] == ["6"]
    assert (tmp_path / "last_checkpoint").read_text().endswith("iter_12.pth")
    assert [*execute(cfg, tmp_path)["curve"]] == [str(6 * point) for point in range(1, 9)]


def test_a_run_killed_between_its_first_checkpoint_and_last_checkpoint_goes_on(small, tmp_path, monkeypatch):
    cfg, write = configure(small, steps=8, prompts=8), checkpoint.write_atomically

    def kill(path, content):
        if path.name == "last_checkpoint":
            raise MemoryError
        write(path, content)

    monkeypatch.setattr(checkpoint, "write_atomically", kill)
    with pytest.raises(MemoryError):
        execute(cfg, tmp_path)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.glob("*checkpoint*")] == []
    assert [path.name for path in tmp_path.glob("*.pth")] == ["iter_1.pth"]
    steps = []
    assert len(execute(cfg, tmp_path, steps.append)["curve"]) == 8
    assert steps == []  # which step 1 would be among


def test_a_record_names_the_source_that_ran_not_what_was_edited_meanwhile(small, tmp_path, monkeypatch):
    now = ["before"]
    monkeypatch.setattr(runs, "source", lambda: now[0])
    monkeypatch.setattr(runs, "versions", functools.cache(runs.versions.__wrapped__))
    record = execute(configure(small, prompts=8), tmp_path, lambda _step: now.insert(0, "edited"))
    assert now[0] == "edited"
    assert record["versions"]["source"] == "before"


def test_a_record_says_what_a_table_needs(small, tmp_path):
    record = execute(configure(small, prompts=8), tmp_path / "run")
    assert record["guidance_scale"] in (1.0, 1.5, 2.0, 3.0)
    assert set(record["validation"]) == {"1.0", "1.5", "2.0", "3.0"}
    assert len(record["outcomes"]["seen/all"]) == 8
    assert len(record["outcomes"]["unseen/swap_group"]) == 4
    for name, bits in record["outcomes"].items():
        assert record["metrics"][name] == pytest.approx(bits.count("1") / len(bits))


@pytest.mark.parametrize(
    ("right", "best"),
    [
        ({1.0: 20, 1.5: 52, 2.0: 55, 3.0: 64}, 3.0),
        ({1.0: 20, 1.5: 58, 2.0: 60, 3.0: 50}, 1.5),
        ({1.0: 20, 1.5: 57, 2.0: 60, 3.0: 60}, 2.0),
        ({1.0: 0, 1.5: 0, 2.0: 0, 3.0: 0}, 1.0),
    ],
)
def test_guidance_is_the_smallest_that_is_nearly_the_best_on_seen_prompts_not_asked(monkeypatch, right, best):
    model = SimpleNamespace(sampler=MaskedSampler(guidance_scale=2.5))
    chosen = [*range(6, 20), *range(24, 110)]

    def measure(model, _prompts, _metric, indices):
        assert indices == chosen
        hits = right[model.sampler.guidance_scale]
        return {}, {"seen/all": [True] * hits + [False] * (100 - hits)}

    monkeypatch.setattr(runs, "measure", measure)
    scale, tried = runs.tune(model, None, SimpleNamespace(headlines=("all", "swap_group")), chosen)
    assert scale == model.sampler.guidance_scale == best
    assert tried == {str(scale): hits / 100 for scale, hits in right.items()}


def test_prompts_that_the_test_asks_do_not_decide(small, monkeypatch):
    cfg = configure(small, prompts=40)
    prompts, validation, chosen = prompt_sets(cfg)
    seen = [index for index, split in enumerate(validation.splits) if split == "seen"]
    assert 0 < len(chosen) < len(seen) == 20
    asked = set(prompts.captions)
    assert chosen == [index for index in seen if validation.captions[index] not in asked]
    cfg.val_dataloader.dataset.seed = 1  # the test's own
    with pytest.raises(UserError, match="asks every caption of the validation split 'seen'; ask fewer prompts"):
        prompt_sets(cfg)
