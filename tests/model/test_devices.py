"""Nothing is bound to a device or waits for one."""

import pytest
import torch
from tiny import (
    CHANNELS,
    GENERATIVE,
    SIZE,
    TOKENS,
    copy_of,
    make_model,
    random_split,
    random_text,
    random_tokens,
    shared_model,
    with_objective,
)

from jepa_t import masking
from jepa_t.fusion import PRESETS
from jepa_t.masking import gather
from jepa_t.sampling import MaskedSampler, options_read
from jepa_t.sampling.reveal import ORDERS
from jepa_t.structures import Split, Target, Text

presets = pytest.mark.parametrize("fusion", PRESETS)
objectives = pytest.mark.parametrize("objective", GENERATIVE)


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
    target = Target(gather(tokens, split.asked), model.ema.target(tokens, split))
    for objective in model.network.objectives.values():
        for value in objective(prediction, target).values():
            assert value.device.type == "meta"
    for order in set(ORDERS) - {"confidence"}:  # of which this objective has none
        sampler = MaskedSampler(steps=2, solver_steps=2, order=order, guidance_interval=(0.0, 0.2))
        assert sampler(model.ema, text, [0, 1]).device.type == "meta"
    images = model.image_tokenizer.decode(model.image_tokenizer.encode(torch.zeros(2, 3, *SIZE, device="meta")))
    assert images.device.type == "meta"


@objectives
def test_no_objective_is_bound_to_a_device_or_waits_for_one(objective):
    model = make_model(**with_objective(objective)).to("meta")
    text = random_text(2)
    text = Text(*(x.to("meta") for x in (text.tokens, text.valid, text.pooled)))
    tokens, split = torch.zeros(2, TOKENS, CHANNELS, device="meta"), Split(random_split(2, 2).order.to("meta"), 2, 4)
    prediction = model.network.condition(tokens, split, text)
    for value in model.network.objectives["own"](prediction, Target(gather(tokens, split.asked))).values():
        assert value.device.type == "meta"
    few = {"solver_steps": 2} if "solver_steps" in options_read(model.ema.draw) else {}
    orders = ["random", "confidence"] if model.ema.gives_confidence else ["random"]
    for order in orders:
        sampler = MaskedSampler(steps=2, order=order, temperature=0.5, guidance_scale=2.0, **few)
        assert sampler(model.ema, text, [0, 1]).device.type == "meta"
