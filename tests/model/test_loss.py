"""What is compared, what learns, how a caption is dropped."""

import statistics

import pytest
import torch
from tiny import CAPTIONS, CHANNELS, TOKENS, config, copy_of, gradients, loss, make_model, random_images, shared_model

from jepa_t import masking
from jepa_t.fusion import PRESETS
from jepa_t.masking import gather
from jepa_t.network import Network

presets = pytest.mark.parametrize("fusion", PRESETS)


@presets
def test_training_and_sampling_compute_one_condition(fusion, observed):
    """In the public code sampling never called the fusion: one path was trained and another one sampled."""
    model = shared_model(fusion)
    loss(model)
    (split,), (text,), (prediction,) = observed["splits"], observed["texts"], observed["predictions"]
    tokens = model.image_tokenizer.encode(random_images(4))
    hidden = masking.scatter(torch.zeros_like(tokens), split.visible, gather(tokens, split.visible))
    again = model.ema.condition(hidden, split, text)  # as the sampler calls it, the masked tokens unknown
    torch.testing.assert_close(again.condition, prediction.condition)
    before = len(observed["predictions"])
    model.generate(["red"], [0])
    assert len(observed["predictions"]) == before + 3  # one a sampling step


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
    assert max(gradients(model.ema).values()) == 0
    assert not any(p.requires_grad for p in model.ema.parameters())
    assert not any(p.requires_grad for p in model.image_tokenizer.parameters())


def test_the_losses_are_finite_in_bfloat16():
    model = shared_model()
    plain = loss(model)
    with torch.autocast("cpu", torch.bfloat16):
        half = loss(model)
        image = model.generate(["red"], [0])
    for name, value in half.items():
        assert value.isfinite()
        assert value.item() == pytest.approx(plain[name].item(), rel=0.1)
    assert image.isfinite().all()


def test_a_dropped_caption_is_the_null_text(observed):
    model = copy_of(shared_model())
    model.text_drop = 1.0
    one, other = loss(model), loss(model, captions=CAPTIONS[4:8])
    null = model.network.text_tokenizer.null(4)
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
    null = model.network.text_tokenizer.null(1).pooled
    counts = []
    for seed in range(20):
        loss(model, random_images(100), CAPTIONS[:1] * 100, seed)
        counts.append((observed["texts"][-1].pooled == null).all(1).sum().item())
    assert statistics.mean(counts) == pytest.approx(30, abs=4)  # 4 standard errors
    assert 2 < statistics.stdev(counts) < 8  # 4.6 for independent captions


def test_the_text_encoder_runs_once_for_the_captions_of_a_step(monkeypatch):
    """In the public code the text encoder ran twice per training step."""
    model, calls = shared_model(), []
    tokenizer = type(model.network.text_tokenizer)
    forward = tokenizer.forward
    monkeypatch.setattr(
        tokenizer, "forward", lambda self, captions: calls.append(len(captions)) or forward(self, captions)
    )
    loss(model)
    assert calls == [4]


def test_the_head_runs_on_masked_tokens_only(observed):
    """In the public code the head ran on visible tokens too and threw the result away."""
    model, shapes = copy_of(shared_model()), []
    head = model.network.objectives["flow"].head
    head.embed.register_forward_pre_hook(lambda _, args: shapes.append(args[0].shape))
    loss(model)
    assert shapes == [(2, 4, TOKENS - 2, CHANNELS)]
