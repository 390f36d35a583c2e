"""Nothing is bound to a device or waits for one."""

import pytest
import torch
from tiny import (
    GENERATIVE,
    SIZE,
    TOKENS,
    copy_of,
    make_model,
    random_text,
    random_tokens,
    registered,
    shared_model,
    with_objective,
)
from watched import denoiser

from jepa_t.fusion import PRESETS
from jepa_t.masking import MaskRatio, draw_split, gather
from jepa_t.registry import REVEAL_ORDERS
from jepa_t.sampling import MaskedSampler, own_options
from jepa_t.structures import Target, Text

META = torch.device("meta")


@pytest.mark.parametrize("fusion", PRESETS)
def test_nothing_is_bound_to_a_device_or_waits_for_one(fusion):
    """D12: the meta device has no values, so whatever looks at one, or leaves the device, fails here."""
    works_on_meta(copy_of(shared_model(fusion)), guidance_interval=(0.0, 0.2))


@pytest.mark.parametrize("objective", GENERATIVE)
def test_no_objective_is_bound_to_a_device_or_waits_for_one(objective):
    works_on_meta(make_model(**with_objective(objective)), temperature=0.5)


def works_on_meta(model, **options):
    model, text = model.to(META), random_text(2)
    text = Text(*(x.to(META) for x in (text.tokens, text.valid, text.pooled)))
    tokens, split = random_tokens(2).to(META), draw_split(2, TOKENS, MaskRatio(), META)
    prediction, asked = model.network.condition(tokens, split, text), gather(tokens, split.asked)
    target = Target(asked, model.ema.target(tokens, split), torch.zeros(asked.shape[:2], device=META).long())
    for objective in model.network.objectives.values():
        assert {value.device.type for value in objective(prediction, target).values()} == {"meta"}
    generative = model.ema.generative
    few = {"solver_steps": 2} if "solver_steps" in own_options(generative) else {}
    for order in set(registered(REVEAL_ORDERS)) - (set() if generative.gives_confidence else {"confidence"}):
        sampler = MaskedSampler(steps=2, order=order, guidance_scale=2.0, draw=few, **options)
        assert sampler(denoiser(model), text, [0, 1]).device.type == "meta"
    images = model.image_tokenizer.decode(model.image_tokenizer.encode(torch.zeros(2, 3, *SIZE, device=META)))
    assert images.device.type == "meta"
