"""Laws of the method: what is read, what learns, and that training and sampling are one path."""

import functools
import statistics
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import (
    CAPTIONS,
    CHANNELS,
    GRID,
    LENGTH,
    REGISTERS,
    SIZE,
    TOKENS,
    WIDTH,
    config,
    copy_of,
    float64,
    generator,
    gradients,
    make_model,
    random_images,
    random_split,
    random_text,
    random_tokens,
    randomise,
    registered,
    rows,
    shared_model,
    with_objective,
)

from jepa_t import masking
from jepa_t import model as module
from jepa_t.engine import update_average
from jepa_t.errors import UserError
from jepa_t.fusion import PRESETS, SITES
from jepa_t.masking import gather
from jepa_t.model import JEPAT, Network
from jepa_t.registry import MODELS, OBJECTIVES, build
from jepa_t.sampling import MaskedSampler, options_read
from jepa_t.sampling.reveal import ORDERS
from jepa_t.structures import Split, Target, Text

presets = pytest.mark.parametrize("fusion", PRESETS)
seeds = st.integers(0, 1000)
visible_counts = st.integers(0, TOKENS - 1)
GENERATIVE = [name for name in registered(OBJECTIVES) if hasattr(OBJECTIVES.get(name), "draw")]


def network(fusion="jepa_t"):
    return shared_model(fusion, torch.float64).network


def loss(model, images=None, captions=None, seed=0):
    torch.manual_seed(seed)
    return model.loss(random_images(4) if images is None else images, CAPTIONS[:4] if captions is None else captions)


# The condition


@presets
@given(seed=seeds, visible=visible_counts)
@float64()
def test_masked_tokens_never_change_the_condition_and_visible_ones_do(fusion, seed, visible):
    model, split, tokens, text = (
        network(fusion),
        random_split(2, visible, seed=seed),
        random_tokens(2),
        random_text(2),
    )
    before = model.condition(tokens, split, text)
    poisoned = masking.scatter(tokens, split.masked, torch.full((2, TOKENS - visible, CHANNELS), float("nan")))
    after = model.condition(poisoned, split, text)
    assert torch.equal(after.condition, before.condition)
    assert torch.equal(after.features, before.features)
    assert before.condition.shape == before.features.shape == (2, TOKENS - visible, WIDTH)
    for place in range(visible):
        changed = masking.scatter(tokens, split.visible[:, place : place + 1], torch.ones(2, 1, CHANNELS))
        moved = (model.condition(changed, split, text).condition - before.condition).abs().amax(-1)
        assert moved.min() > 1e-9


@pytest.mark.parametrize("fusion", [*PRESETS, *({site: {"type": "FiLM"}} for site in SITES)], ids=str)
@float64()
def test_two_captions_of_an_image_share_what_comes_before_the_text(fusion):
    """The guidance's branches: as if each were alone, at the cost of one until the first fusion."""
    model, tokens, split = make_model(fusion=fusion).average, random_tokens(2), random_split(2, 3)
    text, other, encoded = random_text(2), random_text(2, seed=1), []
    alone = [model.condition(tokens, split, one) for one in (text, other)]
    model.encoder.register_forward_pre_hook(lambda _, args: encoded.append(len(args[0])))
    both = model.condition(tokens, split, text + other)
    for field in ("features", "condition"):
        parts = [getattr(prediction, field) for prediction in alone]
        torch.testing.assert_close(getattr(both, field), torch.cat(parts))
    assert encoded == [4 if {"encoder", "context"} & model.fusion.keys() else 2]


@presets
@float64()
def test_an_image_does_not_depend_on_its_batch(fusion):
    model, split, tokens, text = network(fusion), random_split(4, 2), random_tokens(4), random_text(4)
    together = model.condition(tokens, split, text).condition
    for row in range(4):
        one = slice(row, row + 1)
        alone = model.condition(tokens[one], Split(split.order[one], 2, split.asked_count), rows(text, one))
        torch.testing.assert_close(alone.condition, together[one])


@presets
@given(seed=seeds, more=st.integers(1, 3))
@float64()
def test_the_padding_of_the_text_never_matters(fusion, seed, more):
    if fusion == "early" and LENGTH + more > REGISTERS:
        more = 0
    text = random_text(2, seed)
    tokens = text.tokens.masked_fill(~text.valid[..., None], 7.0)
    other = Text(
        torch.cat([tokens, torch.randn(2, more, tokens.shape[-1])], 1),
        torch.nn.functional.pad(text.valid, (0, more)),
        text.pooled,
    )
    one, two = (network(fusion).condition(random_tokens(2), random_split(2, 2), t).condition for t in (text, other))
    torch.testing.assert_close(one, two)


@given(visible=visible_counts, data=st.data())
@float64()
def test_asking_for_some_gives_the_same_as_asking_for_all(visible, data):
    asked = data.draw(st.integers(1, TOKENS - visible))
    split = random_split(2, visible)
    everything = network().condition(random_tokens(2), split, random_text(2))
    some = network().condition(random_tokens(2), Split(split.order, visible, asked), random_text(2))
    torch.testing.assert_close(some.condition, everything.condition[:, :asked])


# The loss


@pytest.fixture
def observed(monkeypatch):
    """Show two tokens of each image; record the splits, texts, conditions and targets."""
    seen = {"splits": [], "texts": [], "predictions": [], "targets": []}
    draw, condition = module.draw, Network.condition

    def drawing(*args):
        seen["splits"].append(Split(draw(*args).order, 2, TOKENS - 2))
        return seen["splits"][-1]

    def conditioning(self, tokens, split, text):
        seen["texts"].append(text)
        seen["predictions"].append(condition(self, tokens, split, text))
        return seen["predictions"][-1]

    monkeypatch.setattr(module, "draw", drawing)
    monkeypatch.setattr(Network, "condition", conditioning)
    monkeypatch.setattr(module, "Target", lambda *args: seen["targets"].append(Target(*args)) or seen["targets"][-1])
    return seen


@presets
def test_training_and_sampling_compute_one_condition(fusion, observed):
    """D2: sampling never called the fusion: one path was trained and another one sampled."""
    model = shared_model(fusion)
    loss(model)
    (split,), (text,), (prediction,) = observed["splits"], observed["texts"], observed["predictions"]
    tokens = model.image_tokenizer.encode(random_images(4))
    hidden = masking.scatter(torch.zeros_like(tokens), split.visible, gather(tokens, split.visible))
    again = model.average.condition(hidden, split, text)  # as the sampler calls it, the masked tokens unknown
    torch.testing.assert_close(again.condition, prediction.condition)
    before = len(observed["predictions"])
    model.generate(["red"], [0])
    assert len(observed["predictions"]) == before + 3  # one a sampling step


def test_only_masked_tokens_are_compared(observed):
    model = shared_model()
    loss(model)
    (split,), targets = observed["splits"], observed["targets"]
    tokens = model.image_tokenizer.encode(random_images(4))
    assert torch.equal(targets[-1].tokens, gather(tokens, split.masked))
    assert torch.equal(targets[-1].features, model.average.target(tokens, split))
    assert targets[-1].features.shape == observed["predictions"][0].features.shape


def test_the_losses_of_two_runs_are_equal_and_of_two_seeds_differ():
    model = shared_model()
    one, again, other = loss(model), loss(model), loss(model, seed=1)
    assert one.keys() == {"loss_flow", "loss_feature"}
    for name in one:
        assert torch.equal(one[name], again[name])
        assert not torch.equal(one[name], other[name])


def test_each_objective_teaches_the_network_something():
    both = config()["objectives"]
    found = {}
    for names in (("flow",), ("flow", "feature")):
        model = make_model(objectives={name: both[name] for name in names})
        losses = loss(model)
        assert losses.keys() == {f"loss_{name}" for name in names}
        sum(losses.values()).backward()
        found[names] = model.network.predictor.mask_query.grad.clone()
    assert not torch.allclose(*found.values())


def test_the_target_encoder_is_left_alone_when_no_objective_asks(monkeypatch):
    monkeypatch.setattr(Network, "target", lambda *_: pytest.fail("nobody asked"))
    loss(make_model(objectives={"flow": config()["objectives"]["flow"]}))


def test_a_weight_of_0_skips_the_work(monkeypatch):
    monkeypatch.setattr(Network, "target", lambda *_: pytest.fail("its loss counts for nothing"))
    objectives = config()["objectives"]
    loss(make_model(objectives=objectives | {"feature": objectives["feature"] | {"weight": 0.0}}))


@presets
def test_every_trained_parameter_learns_and_none_of_the_average(fusion):
    model = copy_of(shared_model(fusion))
    for seed in range(3):
        sum(loss(model, random_images(12), CAPTIONS, seed).values()).backward()
    found = gradients(model.network)
    learns = {name for name, p in model.network.named_parameters() if p.requires_grad}
    assert {name for name, value in found.items() if value > 0} == learns
    assert ("text_tokenizer.words" in learns) == (fusion != "none")
    assert max(gradients(model.average).values()) == 0
    assert not any(p.requires_grad for p in model.average.parameters())
    assert not any(p.requires_grad for p in model.image_tokenizer.parameters())


@presets
def test_queries_keys_and_values_learn_apart(fusion):
    model = copy_of(shared_model(fusion))
    sum(loss(model, random_images(12), CAPTIONS).values()).backward()
    attentions = [m for m in model.network.modules() if hasattr(m, "kv")]
    assert len(attentions) == 1 + 2 + 1 + (fusion == "jepa_t")
    for attention in attentions:
        if attention.kv.weight.requires_grad:
            keys, values = attention.kv.weight.grad.chunk(2)
            assert min(g.abs().max() for g in (attention.q.weight.grad, keys, values)) > 1e-7


def test_the_losses_are_finite_in_bfloat16():
    model = shared_model()
    plain = loss(model)
    with torch.autocast("cpu", torch.bfloat16):
        half = loss(model)
        picture = model.generate(["red"], [0])
    for name, value in half.items():
        assert value.isfinite()
        assert value.item() == pytest.approx(plain[name].item(), rel=0.1)
    assert picture.isfinite().all()


def test_registers_stay_distinct_in_training_without_dropout():
    """D14: they started identical, had no position, and stayed identical for ever."""
    torch.manual_seed(0)
    model = build(config(fusion="none"), MODELS)
    model.fit(random_images(64), CAPTIONS)
    optimizer = torch.optim.SGD([p for p in model.network.parameters() if p.requires_grad], 0.05)
    for step in range(5):
        optimizer.zero_grad()
        sum(loss(model, seed=step).values()).backward()
        optimizer.step()
    assert torch.pdist(model.network.encoder.registers.detach()).min() > 1.0


# The caption drop


def test_a_dropped_caption_is_the_null_text(observed):
    model = copy_of(shared_model())
    model.text_drop = 1.0
    one, other = loss(model), loss(model, captions=CAPTIONS[4:8])
    null = model.network.null(4)
    for text in observed["texts"]:
        assert torch.equal(text.tokens, null.tokens)
        assert torch.equal(text.valid, null.valid)
        assert torch.equal(text.pooled, null.pooled)
    assert all(torch.equal(one[name], other[name]) for name in one)
    model.text_drop = 0.0
    loss(model)
    assert torch.equal(observed["texts"][-1].pooled, model.network.text_tokenizer(CAPTIONS[:4]).pooled)


def test_captions_are_dropped_as_often_as_asked_each_by_itself(observed):
    model = copy_of(shared_model())
    model.text_drop = 0.3
    null = model.network.null(1).pooled
    counts = []
    for seed in range(20):
        loss(model, random_images(100), CAPTIONS[:1] * 100, seed)
        counts.append((observed["texts"][-1].pooled == null).all(1).sum().item())
    assert statistics.mean(counts) == pytest.approx(30, abs=4)  # 4 standard errors
    assert 2 < statistics.stdev(counts) < 8  # 4.6 for independent captions


# The target encoder


@presets
def test_the_target_never_sees_the_caption(fusion, observed):
    """D7: the teacher saw the caption while the student's was dropped."""
    model = shared_model(fusion)
    loss(model, captions=CAPTIONS[:4])
    loss(model, captions=CAPTIONS[4:8])
    one, _, other = observed["targets"][1:4]
    assert torch.equal(one.features, other.features)
    assert torch.equal(observed["targets"][3].features, one.features)
    assert not observed["targets"][1].features.requires_grad


@presets
@float64()
def test_the_target_is_the_encoder_over_all_tokens_under_the_null_text(fusion):
    model, split, tokens = network(fusion), random_split(2, 2, 3), random_tokens(2)
    registers = model.encoder.registers.expand(2, -1, -1)
    if "encoder" in model.fusion:
        registers = model.fusion["encoder"](registers, model.text_tokenizer.null(2))
    everything = torch.arange(TOKENS).expand(2, -1)
    _, features = model.encoder(tokens, everything, registers)
    target = model.target(tokens, split)
    torch.testing.assert_close(target, gather(features, split.asked))
    for place in range(TOKENS):  # of each token, seen or not
        changed = tokens.clone()
        changed[:, place] += 1
        assert not torch.allclose(model.target(changed, split), target)


def test_the_target_follows_the_average_of_the_encoder(observed):
    model = copy_of(shared_model())
    tokens, split = random_tokens(2), random_split(2, 2)
    old = model.average.target(tokens, split)
    randomise(model.network, seed=1)
    update_average(model.network, model.average, 1.0)
    assert torch.equal(model.average.target(tokens, split), old)
    loss(model)
    encoded = model.image_tokenizer.encode(random_images(4))
    assert torch.equal(observed["targets"][-1].features, model.average.target(encoded, observed["splits"][-1]))
    before = model.average.encoder.norm.weight.clone()
    update_average(model.network, model.average, 0.5)
    torch.testing.assert_close(model.average.encoder.norm.weight, (before + model.network.encoder.norm.weight) / 2)
    update_average(model.network, model.average, 0.0)
    assert torch.equal(model.average.target(tokens, split), model.network.target(tokens, split))


def test_the_target_has_no_dropout_and_the_network_in_training_has():
    model = make_model(encoder=config()["encoder"] | {"dropout": 0.5})
    tokens, split, text = random_tokens(2), random_split(2, 2), random_text(2)
    assert model.train().training
    assert torch.equal(model.average.target(tokens, split), model.average.target(tokens, split))
    one, other = (model.network.condition(tokens, split, text).condition for _ in range(2))
    assert not torch.equal(one, other)
    model.eval()
    one, other = (model.network.condition(tokens, split, text).condition for _ in range(2))
    assert torch.equal(one, other)


def test_the_average_starts_as_a_whole_copy_with_parts_of_its_own():
    torch.manual_seed(0)
    model = build(config(), MODELS)
    theirs = dict(model.average.named_parameters())
    for name, parameter in model.network.named_parameters():
        assert torch.equal(parameter, theirs[name])
        assert parameter.data_ptr() != theirs[name].data_ptr()
    with torch.no_grad():
        model.average.text_tokenizer.words[1] += 1.0
    assert not torch.equal(model.average.null(1).pooled, model.network.null(1).pooled)


@pytest.mark.parametrize("frozen", ["encoder", ("encoder", "predictor")])
def test_what_is_frozen_is_the_averages_and_neither_learns_nor_drops(frozen):
    part = {name: config()[name] | {"dropout": 0.5} for name in ("encoder", "predictor")}
    model = make_model(frozen=frozen, **part).train()
    names = [frozen] if isinstance(frozen, str) else frozen
    for name in ("encoder", "predictor"):
        network, average = getattr(model.network, name), getattr(model.average, name)
        assert (network is average) == (name in names)
        assert network.training == (name not in names)
    sum(model.loss(random_images(2), CAPTIONS[:2]).values()).backward()
    found = gradients(model.network)
    assert all((value == 0) == name.startswith(tuple(f"{name}." for name in names)) for name, value in found.items())
    twin = make_model(seed=1, frozen=frozen)
    weights = model.state_dict()
    for name in names:  # as in a file with raw and averaged weights
        for key in [key for key in weights if key.startswith(f"network.{name}.")]:
            weights[key] = weights[key] + 1
    twin.load_state_dict(weights)
    for key, value in model.state_dict().items():
        assert torch.equal(twin.state_dict()[key], value), key


# Building


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


def test_building_leaves_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    Network(
        shared_model().image_tokenizer,
        **{k: config()[k] for k in ("width", "text_tokenizer", "encoder", "predictor", "objectives")},
        fusion="jepa_t",
    )
    assert torch.equal(torch.rand(3), expected)


def test_compiling_changes_no_name_and_reaches_every_block(monkeypatch):
    """D16: compiled checkpoints carried a prefix and loaded only into compiled models."""
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
    assert torch.equal(words, model.average.text_tokenizer.clip_ids)
    before = words.clone(), model.image_tokenizer.basis.clone()
    model.fit(random_images(64, seed=1), ["violet"])
    assert torch.equal(words, before[0])
    assert torch.equal(model.image_tokenizer.basis, before[1])


def test_a_loaded_model_draws_the_same():
    model = shared_model()
    other = build(config(), MODELS)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.generate(CAPTIONS[:2], [3, 4]), model.generate(CAPTIONS[:2], [3, 4]))


@pytest.mark.parametrize(
    "change",
    [{"sampler": "fast"}, {"sampler": {"steps": 1}}, {"text_drop": 1.0}, {"mask_ratio": {"low": 1.0}}],
)
def test_each_option_of_the_model_changes_something(change):
    def outcome(model):
        return sum(loss(model).values()).item() + model.generate(["red"], [0]).sum().item()

    assert outcome(make_model(**change)) != outcome(shared_model())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fusion": "jepat"}, "unknown fusion preset 'jepat': did you mean 'jepa_t'"),
        ({"fusion": {"feature": {"type": "Add"}}}, "unknown fusion site 'feature': did you mean 'features'"),
        (
            {"encoder": {"type": "ContextEncoderr"}},
            "unknown backbone 'ContextEncoderr': did you mean 'ContextEncoder'",
        ),
        ({"predictor": {"type": "Predictor", "heads": 2}}, "Predictor needs the option 'depth'"),
        ({"objectives": {}}, "model.objectives has 0 that generate"),
        ({"objectives": {"feature": {"type": "FeaturePrediction"}}}, "model.objectives has 0 that generate"),
        (
            {"objectives": {"a": {"type": "FlowMatching"}, "b": {"type": "FlowMatching"}}},
            "model.objectives has 2 that generate",
        ),
        ({"sampler": "fats"}, "unknown sampler preset 'fats'"),
        ({"text_drop": 1.5}, "model.text_drop is 1.5; it must lie between 0 and 1"),
        ({"mask_ratio": {"low": 2.0}}, "mask_ratio.low is 2.0"),
        (
            {"image_tokenizer": {"type": "PatchTokenizr"}},
            "unknown tokenizer 'PatchTokenizr': did you mean 'PatchTokenizer'",
        ),
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


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mask_ratio": {"lw": 0.3}}, "did you mean 'low'"),
        ({"sampler": {"guidance_interval": 0.5}}, "MaskedSampler"),
        ({"sampler": {"solver_steps": (1, 2, 3)}}, r"sampler.solver_steps is"),
        ({"sampler": {"steps": 1.5}}, r"sampler.steps is 1.5"),
        ({"image_tokenizer": {"type": "PatchTokenizer", "size": 8, "patch": 2}}, "PatchTokenizer"),
    ],
)
def test_a_value_of_a_wrong_kind_is_told(change, says):
    with pytest.raises(UserError, match=says):
        build(config(**change), MODELS)


@pytest.mark.parametrize("captions", [[""], [None], ["red " * 7], [7]])
def test_a_wrong_caption_is_told_in_training_and_in_drawing(captions):
    model = shared_model()
    for call in (lambda: model.generate(captions, [0]), lambda: model.loss(random_images(1), captions)):
        with pytest.raises(UserError, match="caption"):
            call()


def test_a_list_instead_of_a_caption_is_told():
    with pytest.raises(UserError, match="caption"):
        shared_model().generate([["red"]], [0])


def test_another_number_of_seeds_than_of_captions_is_told():
    with pytest.raises(UserError, match="seeds"):
        shared_model().generate(CAPTIONS[:2], [0])


def test_images_of_another_size_are_told():
    with pytest.raises(UserError, match=r"the images are \[3, 8, 8\]"):
        shared_model().loss(torch.zeros(1, 3, 8, 8), ["red"])


# MMEngine's entrance


def test_predict_gives_a_record_with_its_picture_for_each_caption():
    model = shared_model()
    samples = {"caption": CAPTIONS[:2], "index": [7, 8], "split": ["a", "b"], "facts": [{"x": 1}, {"x": 2}]}
    records = model(None, samples, "predict")
    pictures = model.generate(CAPTIONS[:2], [7, 8])
    for row, record in enumerate(records):
        assert torch.equal(record.pop("image"), pictures[row])
        assert record == {key: values[row] for key, values in samples.items()}
    torch.manual_seed(0)
    assert torch.equal(
        model(random_images(4), {"caption": CAPTIONS[:4]}, "loss")["loss_flow"], loss(model)["loss_flow"]
    )
    with pytest.raises(UserError, match="mode is 'tensor'; use 'loss' or 'predict'"):
        model(None, samples, "tensor")


def test_pictures_are_drawn_with_the_averaged_weights():
    model = copy_of(shared_model())
    before = model.generate(["red"], [0])
    randomise(model.network, seed=5)
    assert torch.equal(model.generate(["red"], [0]), before)
    randomise(model.average, seed=5)
    assert not torch.equal(model.generate(["red"], [0]), before)
    assert not before.requires_grad


# Speed and devices


def test_the_text_encoder_runs_once_for_the_captions_of_a_step(monkeypatch):
    """D11: it ran twice per training step."""
    model, calls = shared_model(), []
    tokenizer = type(model.network.text_tokenizer)
    forward = tokenizer.forward
    monkeypatch.setattr(
        tokenizer, "forward", lambda self, captions: calls.append(len(captions)) or forward(self, captions)
    )
    loss(model)
    assert calls == [4]


def test_the_head_runs_on_masked_tokens_only(observed):
    """D13: it ran on visible tokens too and threw the result away."""
    model, shapes = copy_of(shared_model()), []
    head = model.network.objectives["flow"].head
    head.embed.register_forward_pre_hook(lambda _, args: shapes.append(args[0].shape))
    loss(model)
    assert shapes == [(2, 4, TOKENS - 2, CHANNELS)]


@presets
def test_nothing_is_bound_to_a_device_or_waits_for_one(fusion):
    """D12: the meta device has no values, so whatever looks at one, or leaves the device, fails here."""
    model = copy_of(shared_model(fusion)).to("meta")
    text = random_text(2)
    text = Text(*(x.to("meta") for x in (text.tokens, text.valid, text.pooled)))
    tokens, split = (
        random_tokens(2).to("meta"),
        masking.draw(2, TOKENS, masking.MaskRatio(), torch.device("meta")),
    )
    prediction = model.network.condition(tokens, split, text)
    target = Target(gather(tokens, split.asked), model.average.target(tokens, split))
    for objective in model.network.objectives.values():
        for value in objective(prediction, target).values():
            assert value.device.type == "meta"
    for order in set(ORDERS) - {"confidence"}:  # of which this objective has none
        sampler = MaskedSampler(steps=2, solver_steps=2, order=order, guidance_interval=(0.0, 0.2))
        assert sampler(model.average, text, [0, 1]).device.type == "meta"
    pictures = model.image_tokenizer.decode(model.image_tokenizer.encode(torch.zeros(2, 3, *SIZE, device="meta")))
    assert pictures.device.type == "meta"


# After training


@pytest.mark.parametrize("objective", GENERATIVE)
def test_no_objective_is_bound_to_a_device_or_waits_for_one(objective):
    model = make_model(**with_objective(objective)).to("meta")
    text = random_text(2)
    text = Text(*(x.to("meta") for x in (text.tokens, text.valid, text.pooled)))
    tokens, split = torch.zeros(2, TOKENS, CHANNELS, device="meta"), Split(random_split(2, 2).order.to("meta"), 2, 4)
    prediction = model.network.condition(tokens, split, text)
    for value in model.network.objectives["own"](prediction, Target(gather(tokens, split.asked))).values():
        assert value.device.type == "meta"
    few = {"solver_steps": 2} if "solver_steps" in options_read(model.average.draw) else {}
    orders = ["random", "confidence"] if model.average.gives_confidence else ["random"]
    for order in orders:
        sampler = MaskedSampler(steps=2, order=order, temperature=0.5, guidance_scale=2.0, **few)
        assert sampler(model.average, text, [0, 1]).device.type == "meta"


# Every generative objective in the whole


@presets
@pytest.mark.parametrize("objective", GENERATIVE)
def test_every_objective_learns_and_draws_under_every_fusion_beside_feature_prediction(objective, fusion, observed):
    model = make_model(fusion=fusion, **with_objective(objective))
    losses = loss(model)
    assert "loss_feature" in losses
    assert all(value.isfinite() for value in losses.values())
    sum(losses.values()).backward()
    found = gradients(model.network)
    learns = {name for name, p in model.network.named_parameters() if p.requires_grad}
    for name in learns:
        if name.startswith(("fusion", "encoder.blocks", "predictor.blocks", "objectives")):
            assert found[name] > 0, name
    (split,), (prediction,) = observed["splits"], observed["predictions"]
    before = len(observed["predictions"])
    pictures = model.generate(CAPTIONS[:2], [0, 1])
    assert len(observed["predictions"]) == before + 3  # by the same function, one a sampling step
    assert pictures.shape == (2, 3, *SIZE)
    assert pictures.isfinite().all()
    assert prediction.condition.shape[:2] == split.asked.shape


@pytest.mark.parametrize("objective", GENERATIVE)
def test_under_every_objective_only_masked_tokens_count(objective, observed):
    model = make_model(**with_objective(objective, mask_ratio={"low": 0.3}))
    loss(model)
    (split,), target = observed["splits"], observed["targets"][-1]
    tokens = model.image_tokenizer.encode(random_images(4))
    assert torch.equal(target.tokens, gather(tokens, split.masked))


@pytest.mark.parametrize("objective", GENERATIVE)
def test_under_every_objective_a_loaded_model_draws_the_same(objective):
    model = make_model(**with_objective(objective))
    other = build(config(**with_objective(objective)), MODELS)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.generate(CAPTIONS[:2], [3, 4]), model.generate(CAPTIONS[:2], [3, 4]))


@functools.cache
def trained():
    """A model that has learned which of four colours a caption names."""
    torch.manual_seed(0)
    colours = {"red": (1, -1, -1), "green": (-1, 1, -1), "blue": (-1, -1, 1), "white two": (1, 1, 1)}
    captions = list(colours) * 4
    images = torch.tensor([colours[c] for c in captions]).float()[:, :, None, None].expand(-1, -1, *SIZE)
    images = images + 0.05 * torch.randn(images.shape, generator=generator(0))
    model = build(
        config(mask_ratio={"low": 0.7}, sampler={"steps": 3, "solver_steps": 8, "guidance_scale": 1.0}),
        MODELS,
    )
    model.fit(images, captions)
    optimizer = torch.optim.AdamW([p for p in model.network.parameters() if p.requires_grad], 1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        sum(model.loss(images, captions).values()).backward()
        optimizer.step()
        update_average(model.network, model.average, 0.9)
    return model, images, captions, colours


def test_shuffled_captions_raise_the_loss_of_a_trained_model():
    model, images, captions, _ = trained()
    with torch.no_grad():
        right, wrong = (
            statistics.mean(loss(model, images, said, seed)["loss_flow"].item() for seed in range(5))
            for said in (captions, captions[1:] + captions[:1])
        )
    assert wrong > 1.5 * right


def test_a_trained_model_draws_what_the_caption_says():
    model, _, _, colours = trained()
    pictures = model.generate(list(colours) * 4, range(16))
    found = pictures.mean((2, 3))[:, None] - torch.tensor(list(colours.values())).float()
    assert (found.norm(dim=2).argmin(1) == torch.arange(16) % 4).float().mean() > 0.8
    assert isinstance(model, JEPAT)
    assert pictures.shape == (16, 3, 2 * GRID[0], 2 * GRID[1])


def test_under_autocast_weights_are_cast_once_and_pictures_stay_the_same(monkeypatch):
    model, seen = make_model(), []
    model.average.predictor.register_forward_hook(lambda *_: seen.append(next(linears(model.average)).weight.dtype))
    before = {name: value.clone() for name, value in model.average.state_dict().items()}
    with torch.autocast("cpu", torch.bfloat16):
        once = model.generate(CAPTIONS[:2], [0, 1])
        monkeypatch.setattr(module, "cast_once", lambda *_: nullcontext())
        each = model.generate(CAPTIONS[:2], [0, 1])
    half = len(seen) // 2
    assert set(seen[:half]) == {torch.bfloat16}
    assert set(seen[half:]) == {torch.float32}
    assert torch.equal(once, each)
    assert all(torch.equal(value, before[name]) for name, value in model.average.state_dict().items())


def linears(network):
    return (part for part in network.modules() if isinstance(part, torch.nn.Linear))


def test_pictures_are_decoded_a_few_at_once(monkeypatch):
    model, sizes = make_model(), []
    whole = model.generate(CAPTIONS[:3], [0, 1, 2])
    decode = model.image_tokenizer.decode
    monkeypatch.setattr(model.image_tokenizer, "decode", lambda tokens: sizes.append(len(tokens)) or decode(tokens))
    monkeypatch.setattr(module, "DECODED", 2)
    torch.testing.assert_close(model.generate(CAPTIONS[:3], [0, 1, 2]), whole)
    assert sizes == [2, 1]
