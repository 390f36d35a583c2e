from types import SimpleNamespace

import pytest

from jepa_t.benchmark import configs
from jepa_t.benchmark.configs import config_hash, configure, match_parameters, step_flops, stretch, trainable_parameters
from jepa_t.benchmark.suites import FUSIONS
from jepa_t.engine import load_config
from jepa_t.errors import UserError

LATE = {"model": {"fusion": "late"}}


def test_a_schedule_in_shares_follows_the_steps_by_itself(small):
    assert configure(small, steps=160).param_scheduler == load_config(str(small)).param_scheduler


@pytest.mark.parametrize(
    ("schedule", "after"),
    [
        ({"type": "CosineAnnealingLR", "T_max": 16}, {"T_max": 40}),
        ([{"type": "MultiStepLR", "milestones": [4, 8]}], {"milestones": [10, 20]}),
        ([{"type": "StepLR", "step_size": 2, "begin": 4}], {"step_size": 5, "begin": 10}),
        ([{"type": "LinearLR", "begin": 0, "end": 8}], {"begin": 0, "end": 20}),
        ({"type": "WarmupStableDecayLR", "warmup": 4, "decay": 0.5}, {"warmup": 10, "decay": 0.5}),
    ],
)
def test_every_kind_of_schedule_is_stretched(small, schedule, after):
    cfg = load_config(str(small))
    cfg.param_scheduler = schedule
    stretch(cfg, 40)  # of 16
    part = cfg.param_scheduler if isinstance(schedule, dict) else cfg.param_scheduler[0]
    assert {name: part[name] for name in after} == after


@pytest.mark.parametrize("own", ["late", {"predictor": {"type": "Add"}, "features": {"type": "CrossAttention"}}])
@pytest.mark.parametrize("arms", ["early", {"features": {"type": "FiLM"}}])
def test_an_arms_fusion_takes_the_place_of_the_configs_own(small, own, arms):
    small.write_text(f"{small.read_text()}\nmodel.update(fusion={own!r})\n")
    assert configure(small).model.fusion == own
    changes = {"model": {"fusion": arms, "width": 32}}
    cfg = configure(small, changes)
    assert (cfg.model.fusion, cfg.model.width) == (arms, 32)
    assert changes == {"model": {"fusion": arms, "width": 32}}


def test_validation_prompts_are_not_the_tests(small):
    cfg = configure(small, prompts=40, validation=["seen"])
    test, validation = cfg.test_dataloader.dataset, cfg.val_dataloader.dataset
    assert (test.per_split, validation.per_split) == (40, 20)
    assert validation.splits == ("seen",)
    assert validation.seed != test.get("seed", 1)
    assert configure(small, validation=["unseen_place"]).val_dataloader.dataset.splits == ("seen", "unseen_place")


def test_a_metric_that_does_not_tell_prompts_apart_is_refused(small, tmp_path):
    path = tmp_path / "other.py"
    path.write_text(small.read_text() + 'test_evaluator = dict(_delete_=True, type="DistributionMetric")\n')
    with pytest.raises(UserError, match="'DistributionMetric' doesn't tell which prompts came out right"):
        configure(path)


def test_the_hash_is_of_the_weights_that_a_run_begins_with(small, tmp_path):
    cfg, weights = configure(small), tmp_path / "begin.pth"
    cfg.load_from = str(weights)
    with pytest.raises(UserError, match="no checkpoint in"):
        config_hash(cfg)
    weights.write_bytes(b"some")
    before = config_hash(cfg)
    weights.write_bytes(b"others")
    assert config_hash(cfg) != before


def test_the_hash_tells_runs_apart(small):
    one = configure(small)
    assert config_hash(one) == config_hash(configure(small))
    others = [configure(small, LATE), configure(small, seed=1), configure(small, steps=17), configure(small, prompts=2)]
    assert len({config_hash(cfg) for cfg in (one, *others)}) == 5


def test_an_edited_plugin_makes_other_runs(small, tmp_path, monkeypatch):
    module = tmp_path / "plugged.py"
    module.write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(configs, "plugins", lambda: [SimpleNamespace(module="plugged")])
    before = config_hash(configure(small))
    module.write_text("# changed")
    assert config_hash(configure(small)) != before


def test_other_code_makes_other_runs(small, tmp_path, monkeypatch):
    """Of the library, of a module that the config imports or names by a path, and a tokenizer trained anew."""
    before = config_hash(configure(small))
    monkeypatch.setattr(configs, "source", lambda: "other")
    assert config_hash(configure(small)) != before
    module = tmp_path / "gates.py"
    module.write_text("from torch import nn\n\n\nclass Gate(nn.Identity): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    for cfg in (configure(small), configure(small)):
        if cfg.get("custom_imports") is None:
            cfg.custom_imports = {"imports": ["gates"]}
    named = configure(small)
    named.model.fusion = {"features": {"type": "gates.Gate"}}
    trained = configure(small)
    checkpoint = tmp_path / "tokenizer.pth"
    checkpoint.write_bytes(b"one")
    trained.model.image_tokenizer.checkpoint = str(checkpoint)
    hashes = [config_hash(one) for one in (cfg, named, trained)]
    module.write_text(module.read_text() + "# changed\n")
    checkpoint.write_bytes(b"two")
    assert all(config_hash(one) != old for one, old in zip((cfg, named, trained), hashes, strict=True))


@pytest.mark.parametrize("option", ["model", "pretrained"])
def test_other_weights_of_a_text_encoder_make_other_runs(small, tmp_path, option):
    weights = tmp_path / "clip.pt"
    weights.write_bytes(b"one")
    cfg = configure(small)
    cfg.model.text_tokenizer = {"type": "OpenCLIPText", option: str(weights)}
    before = config_hash(cfg)
    weights.write_bytes(b"two")
    assert config_hash(cfg) != before


def test_a_model_may_be_named_by_its_class(small, tmp_path):
    path = tmp_path / "own.py"
    path.write_text('_base_ = ["small.py"]\nmodel = dict(type="jepa_t.model.JEPAT")\n')
    assert configure(path).model.type == "jepa_t.model.JEPAT"


@pytest.mark.parametrize("bytes_", [3, 2**15])
def test_other_data_of_ones_own_makes_other_runs(small, tmp_path, bytes_):
    own = tmp_path / "own"
    own.mkdir()
    (own / "0.txt").write_text("a" * bytes_)
    cfg = configure(small)
    cfg.train_dataloader.dataset = {"type": "CaptionedImages", "source": str(own)}
    before = config_hash(cfg)
    assert config_hash(cfg) == before
    (own / "0.txt").write_text("b" * bytes_)
    assert config_hash(cfg) != before


def test_so_do_other_images_of_a_manifest_and_other_latents_of_a_cache(small, tmp_path):
    manifest, cache = tmp_path / "own.jsonl", tmp_path / "cache"
    manifest.write_text('{"image": "images/0.png", "caption": "a red three"}')
    cache.mkdir()
    for image in (tmp_path / "images" / "0.png", cache / "0.bin"):
        image.parent.mkdir(exist_ok=True)
        image.write_text("a")
    cfg = configure(small)
    source = {"type": "CaptionedImages", "source": str(manifest)}
    cfg.train_dataloader.dataset = {"type": "CachedLatents", "folder": str(cache), "dataset": source}
    found = {config_hash(cfg)}
    for image in (tmp_path / "images" / "0.png", cache / "0.bin"):
        image.write_text("b")
        found.add(config_hash(cfg))
    assert len(found) == 3


@pytest.mark.parametrize("arm", FUSIONS)
def test_parameters_are_matched_within_two_per_cent(small, arm):
    target = trainable_parameters(configure(small))
    found = match_parameters(configure(small, FUSIONS[arm].changes), target)
    assert trainable_parameters(found) == pytest.approx(target, rel=0.02)


def test_what_can_not_be_matched_is_told(small):
    with pytest.raises(UserError, match=r"trains \d+ weights at best.*within 2%.*--no-match"):
        match_parameters(configure(small), 1000)


def test_the_jepa_loss_costs_operations(small):
    without = configure(small, {"model": {"objectives": {"feature": {"weight": 0.0}}}})
    assert 0.5 * step_flops(configure(small)) < step_flops(without) < 0.98 * step_flops(configure(small))


def test_a_config_without_prompts_is_told(tmp_path, small):
    path = tmp_path / "bare.py"
    path.write_text(small.read_text() + "test_evaluator = None\n")
    with pytest.raises(UserError, match="has no test_evaluator"):
        configure(path)
