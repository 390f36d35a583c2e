"""Every generative objective in the whole."""

import pytest
import torch
from tiny import CAPTIONS, GENERATIVE, SIZE, config, gradients, loss, make_model, random_images, with_objective

from jepa_t.fusion import PRESETS
from jepa_t.masking import gather
from jepa_t.registry import MODELS, build

presets = pytest.mark.parametrize("fusion", PRESETS)
objectives = pytest.mark.parametrize("objective", GENERATIVE)


@presets
@objectives
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
    images = model.generate(CAPTIONS[:2], [0, 1])
    assert len(observed["predictions"]) == before + 3  # by the same function, one a sampling step
    assert images.shape == (2, 3, *SIZE)
    assert images.isfinite().all()
    assert prediction.condition.shape[:2] == split.asked.shape


@objectives
def test_under_every_objective_only_masked_tokens_are_compared(objective, observed):
    model = make_model(**with_objective(objective, mask_ratio={"low": 0.3}))
    loss(model)
    (split,), (target,) = observed["splits"], observed["targets"]
    tokens = model.image_tokenizer.encode(random_images(4))
    assert torch.equal(target.tokens, gather(tokens, split.masked))
    assert torch.equal(target.features, model.ema.target(tokens, split))
    assert target.features.shape == observed["predictions"][0].features.shape


@objectives
def test_under_every_objective_a_loaded_model_draws_the_same(objective):
    model = make_model(**with_objective(objective))
    other = build(config(**with_objective(objective)), MODELS)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.generate(CAPTIONS[:2], [3, 4]), model.generate(CAPTIONS[:2], [3, 4]))
