"""From a config to a model: its weights and seeds, its options, what a wrong one is told."""

import functools

import pytest
import torch
from tiny import CAPTIONS, config, loss, make_model, random_images, shared_model

from jepa_t.errors import UserError
from jepa_t.fusion import PRESETS
from jepa_t.network import Network
from jepa_t.registry import MODELS, build


@functools.cache
def fresh(fusion):
    torch.manual_seed(3)
    return dict(build(config(fusion=fusion), MODELS).network.state_dict().items())


@pytest.mark.parametrize("fusion", [*PRESETS, "blocks"])
def test_a_seed_gives_shared_parts_the_same_weights_under_every_fusion(fusion):
    one, other = fresh("jepa_t"), fresh(fusion) if fusion in PRESETS else None
    if other is None:
        torch.manual_seed(3)
        other = build(config(fusion={"blocks": {"type": "CrossAttention"}}), MODELS).network.state_dict()
    shared = [name for name in one if not name.startswith("fusion.")]
    assert shared == [name for name in other if not name.startswith("fusion.")]
    for name in shared:
        assert torch.equal(one[name], other[name]), name


def test_a_seed_gives_a_site_the_same_weights_whichever_other_sites_are_used():
    torch.manual_seed(3)
    alone = build(config(fusion={"features": {"type": "CrossAttention"}}), MODELS).network.state_dict()
    assert torch.equal(alone["fusion.features.attn.q.weight"], fresh("jepa_t")["fusion.features.attn.q.weight"])


def test_another_seed_gives_other_weights_and_parts_differ_from_each_other():
    torch.manual_seed(4)
    other = build(config(), MODELS).network.state_dict()
    one = fresh("jepa_t")
    assert not torch.equal(one["encoder.positions"], other["encoder.positions"])
    assert not torch.equal(one["encoder.positions"], one["predictor.positions"])
    assert not torch.equal(one["predictor.blocks.0.attn.q.weight"], one["predictor.blocks.1.attn.q.weight"])


def test_building_leaves_the_random_state_alone(monkeypatch):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _seed: pytest.fail("the generators of GPUs were set"))
    Network(
        shared_model().image_tokenizer,
        **{k: config()[k] for k in ("width", "text_tokenizer", "encoder", "predictor", "objectives")},
        fusion="jepa_t",
    )
    assert torch.equal(torch.rand(3), expected)


def test_compiling_changes_no_name_and_reaches_every_block(monkeypatch):
    """In the public code compiled checkpoints carried a prefix and loaded only into compiled models."""
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(self))
    plain = build(config(), MODELS)
    assert compiled == []
    model = build(config(compile=True), MODELS)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert len(compiled) == 2 * (1 + 1 + 2 + 2)  # text, encoder, predictor, head; network and average


def test_fitting_is_done_once_and_for_both_copies():
    model = build(config(), MODELS)
    assert not model.image_tokenizer.fitted
    model.fit(random_images(64), CAPTIONS)
    words = model.network.text_tokenizer.clip_ids
    assert torch.equal(words, model.ema.text_tokenizer.clip_ids)
    before = words.clone(), model.image_tokenizer.basis.clone()
    model.fit(random_images(64, seed=1), ["violet"])
    assert torch.equal(words, before[0])
    assert torch.equal(model.image_tokenizer.basis, before[1])


@pytest.mark.parametrize(
    "change", [{"sampler": "fast"}, {"sampler": {"steps": 1}}, {"text_drop": 1.0}, {"mask_ratio": {"low": 1.0}}]
)
def test_each_option_of_the_model_changes_something(change):
    def outcome(model):
        return sum(loss(model).values()).item() + model.generate(["red"], [0]).sum().item()

    assert outcome(make_model(**change)) != outcome(shared_model())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"encoder": {"type": "ContextEncoderr"}}, "unknown backbone 'ContextEncoderr': did you mean 'ContextEncoder'"),
        ({"predictor": {"type": "Predictor", "heads": 2}}, "Predictor needs the option 'depth'"),
        ({"objectives": {"feature": {"type": "FeaturePrediction"}}}, "model.objectives has 0 that generate"),
        ({"objectives": {key: {"type": "FlowMatching"} for key in "ab"}}, "model.objectives has 2 that generate"),
        ({"sampler": "fats"}, "unknown sampler preset 'fats'"),
        ({"text_drop": 1.5}, "model.text_drop is 1.5; it must lie between 0 and 1"),
        ({"mask_ratio": {"low": 2.0}}, "mask_ratio.low is 2.0"),
        ({"mask_ratio": {"lw": 0.3}}, "did you mean 'low'"),
        ({"image_tokenizer": {"type": "PatchTokenizr"}}, "unknown tokenizer 'PatchTokenizr': did you mean 'Patch"),
        ({"image_tokenizer": {"type": "PatchTokenizer", "size": 8, "patch": 2}}, "PatchTokenizer size is 8"),
        ({"sampler": {"guidance_interval": 0.5}}, "MaskedSampler"),
        ({"sampler": {"draw": (1, 2, 3)}}, "sampler.draw is"),
        ({"sampler": {"steps": 1.5}}, "sampler.steps is 1.5"),
        ({"frozen": ("encodr",)}, "unknown part in model.frozen 'encodr': did you mean 'encoder'"),
        ({"frozen": "fusion"}, "unknown part in model.frozen 'fusion'"),
        ({"compiled": True}, "unknown option of JEPAT 'compiled': did you mean 'compile'"),
    ],
)
def test_a_wrong_config_is_told_in_one_line(change, says):
    with pytest.raises(UserError) as caught:
        build(config(**change), MODELS)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
