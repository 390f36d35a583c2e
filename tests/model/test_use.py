"""Drawing, MMEngine's entrance, and wrong input."""

import functools
import statistics
from contextlib import nullcontext

import pytest
import torch
from hypothesis import strategies as st
from tiny import (
    CAPTIONS,
    GRID,
    SIZE,
    config,
    copy_of,
    generator,
    loss,
    make_model,
    random_images,
    randomise,
    shared_model,
    with_objective,
)

from jepa_t import drawing
from jepa_t.acceleration import cast_once
from jepa_t.errors import UserError
from jepa_t.model import JEPAT
from jepa_t.registry import MODELS, build
from jepa_t.tokenizers import encoding

seeds = st.integers(0, 1000)


@pytest.mark.parametrize("captions", [[""], [None], ["red " * 7], [7], [["red"]]])
def test_a_wrong_caption_is_told_in_training_and_in_drawing(captions):
    model = shared_model()
    for call in (lambda: model.generate(captions, [0]), lambda: model.loss(random_images(1), captions)):
        with pytest.raises(UserError, match="caption"):
            call()


@pytest.mark.parametrize("seeds", [[0], [0, -1], 7, torch.zeros(2, 2)])
def test_wrong_seeds_are_told_and_those_of_pytorch_read(seeds):
    """A batch of the default collate function has tensors."""
    with pytest.raises(UserError, match="seed"):
        shared_model().generate(CAPTIONS[:2], seeds)
    assert torch.equal(*(shared_model().generate(["red"], given) for given in ([3], torch.tensor([3]))))


@pytest.mark.parametrize("objective", [None, "FlowMatching", "TokenCrossEntropy"])
def test_a_model_that_draws_nan_is_told(objective):
    """Also one that draws codes, of which one is the nearest to NaN too."""
    model = make_model(**with_objective(objective)) if objective else copy_of(shared_model())
    with torch.no_grad():
        next(model.ema.predictor.parameters()).fill_(torch.nan)
    with pytest.raises(UserError, match="the model draws NaN or infinity; use an earlier checkpoint"):
        model.generate(["red"], [0])


@pytest.mark.parametrize("captions", [["red"], ["red"] * 3, []])
def test_more_or_fewer_captions_than_images_are_told(captions):
    with pytest.raises(UserError, match=f"2 images and {len(captions)} captions; give one for each image"):
        shared_model().loss(random_images(2), captions)


def test_a_loss_before_fitting_is_told():
    with pytest.raises(UserError, match=r"PatchTokenizer isn't fitted; call model.fit\(images, captions\)"):
        build(config(), MODELS).loss(random_images(1), ["red"])


def test_an_average_that_never_moved_though_the_network_was_trained_is_told():
    model = build(config(), MODELS)
    model.fit(random_images(64), CAPTIONS)
    fresh = model.generate(["red"], [0])  # nothing was trained: it draws
    optimizer = torch.optim.AdamW([p for p in model.network.parameters() if p.requires_grad], 0.1)
    sum(loss(model).values()).backward()
    optimizer.step()
    with pytest.raises(UserError, match=r"model.ema, which draws, is as it began; call model.update_ema\(\)"):
        model.generate(["red"], [0])
    model.update_ema(0.5)
    assert not torch.equal(model.generate(["red"], [0]), fresh)


def test_images_of_another_size_are_told():
    with pytest.raises(UserError, match=r"the images are \[3, 8, 8\]"):
        shared_model().loss(torch.zeros(1, 3, 8, 8), ["red"])


def test_predict_gives_a_record_with_its_image_for_each_caption():
    model = shared_model()
    samples = {"caption": CAPTIONS[:2], "index": [7, 8], "split": ["a", "b"], "facts": [{"x": 1}, {"x": 2}]}
    records = model(None, samples, "predict")
    images = model.generate(CAPTIONS[:2], [7, 8])
    for row, record in enumerate(records):
        assert torch.equal(record.pop("image"), images[row])
        assert record == {key: values[row] for key, values in samples.items()}
    torch.manual_seed(0)
    assert torch.equal(
        model(random_images(4), {"caption": CAPTIONS[:4]}, "loss")["loss_flow"], loss(model)["loss_flow"]
    )
    with pytest.raises(UserError, match="mode is 'tensor'; use 'loss' or 'predict'"):
        model(None, samples, "tensor")


def test_images_are_drawn_with_the_averaged_weights():
    model = copy_of(shared_model())
    before = model.generate(["red"], [0])
    randomise(model.network, seed=5)
    assert torch.equal(model.generate(["red"], [0]), before)
    randomise(model.ema, seed=5)
    assert not torch.equal(model.generate(["red"], [0]), before)
    assert not before.requires_grad


@functools.cache
def trained():
    """A model that has learned which of four colours a caption names."""
    torch.manual_seed(0)
    colours = {"red": (1, -1, -1), "green": (-1, 1, -1), "blue": (-1, -1, 1), "white two": (1, 1, 1)}
    captions = list(colours) * 4
    images = torch.tensor([colours[c] for c in captions]).float()[:, :, None, None].expand(-1, -1, *SIZE)
    images = images + 0.05 * torch.randn(images.shape, generator=generator(0))
    model = build(
        config(mask_ratio={"low": 0.7}, sampler={"steps": 3, "draw": {"solver_steps": 8}, "guidance_scale": 1.0}),
        MODELS,
    )
    model.fit(images, captions)
    optimizer = torch.optim.AdamW([p for p in model.network.parameters() if p.requires_grad], 1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        sum(model.loss(images, captions).values()).backward()
        optimizer.step()
        model.update_ema(0.9)
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
    images = model.generate(list(colours) * 4, range(16))
    found = images.mean((2, 3))[:, None] - torch.tensor(list(colours.values())).float()
    assert (found.norm(dim=2).argmin(1) == torch.arange(16) % 4).float().mean() > 0.8
    assert isinstance(model, JEPAT)
    assert images.shape == (16, 3, 2 * GRID[0], 2 * GRID[1])


def test_under_autocast_weights_are_cast_once_and_images_stay_the_same(monkeypatch):
    model, seen = make_model(), []
    model.ema.predictor.register_forward_hook(lambda *_: seen.append(next(linears(model.ema)).weight.dtype))
    before = {name: value.clone() for name, value in model.ema.state_dict().items()}
    with torch.autocast("cpu", torch.bfloat16):
        once = model.generate(CAPTIONS[:2], [0, 1])
        monkeypatch.setattr(drawing, "cast_once", lambda *_: nullcontext())
        each = model.generate(CAPTIONS[:2], [0, 1])
    half = len(seen) // 2
    assert set(seen[:half]) == {torch.bfloat16}
    assert set(seen[half:]) == {torch.float32}
    assert torch.equal(once, each)
    assert all(torch.equal(value, before[name]) for name, value in model.ema.state_dict().items())


def test_threads_under_autocast_share_the_cast_and_the_last_takes_it_back():
    """The first one took it back under the others, and the last one for good."""
    network = shared_model().ema
    with torch.autocast("cpu", torch.bfloat16):
        one, other = cast_once(network, "cpu"), cast_once(network, "cpu")
        for step in (one.__enter__, other.__enter__, lambda: one.__exit__(None, None, None)):
            step()
            assert {part.weight.dtype for part in linears(network)} == {torch.bfloat16}
        other.__exit__(None, None, None)
    assert {part.weight.dtype for part in linears(network)} == {torch.float32}


def linears(network):
    return (part for part in network.modules() if isinstance(part, torch.nn.Linear))


def test_images_are_decoded_a_few_at_once(monkeypatch):
    model, sizes = make_model(), []
    whole = model.generate(CAPTIONS[:3], [0, 1, 2])
    decode = model.image_tokenizer.decode
    monkeypatch.setattr(model.image_tokenizer, "decode", lambda tokens: sizes.append(len(tokens)) or decode(tokens))
    monkeypatch.setattr(encoding, "DECODED", 2)
    torch.testing.assert_close(model.generate(CAPTIONS[:3], [0, 1, 2]), whole)
    assert sizes == [2, 1]
