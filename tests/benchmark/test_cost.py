"""The cost model against the operations that PyTorch counts."""

import pytest
from tiny import CAPTIONS, copy_of, make_model, random_images, random_split, shared_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import jepa_t.model
from jepa_t.benchmark import cost, published
from jepa_t.benchmark.samplers import evaluations
from jepa_t.model import JEPAT
from jepa_t.sampling import sampler_for


def counted(function):
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        function()
    return counter.get_total_flops()


def pixels(model):
    """The image tokenizer's operations, one way."""
    return counted(lambda: model.image_tokenizer.encode(random_images(1)))


FUSIONS = ["jepa_t", "early", "late", "none", {"blocks": {"type": "CrossAttention"}}, {"encoder": {"type": "FiLM"}}]
OPTIONS = [
    {"preset": "reference", "steps": 4, "draw": {"solver_steps": 5}},
    {"preset": "balanced", "steps": 4, "draw": {"solver_steps": (4, 2)}, "guidance_interval": (0.2, 1.0)},
    {"steps": 3, "draw": {"solver": "heun", "solver_steps": 3}, "guidance_scale": 1.0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("fusion", FUSIONS, ids=str)
def test_a_image_costs_what_it_says(fusion, options):
    model = make_model(fusion=fusion)
    model.sampler = sampler_for(model.network.generative, options)
    found = cost.sampling(model)
    assert found.total == counted(lambda: model.generate(CAPTIONS[:1], [0])) - pixels(model)
    seen = evaluations(model, CAPTIONS[0])
    assert seen["network evaluations"] == found.network
    assert seen["head evaluations per token"] == pytest.approx(found.head)


@pytest.mark.parametrize("items", [cost.ITEMS[:count] for count in range(5)], ids=str)
def test_the_plain_procedure_costs_what_it_says(items):
    model = copy_of(shared_model())
    model.sampler = sampler_for(model.network.generative, OPTIONS[0])
    found = cost.sampling(model, items)
    plain = counted(lambda: published.sample(model, CAPTIONS[:1], [0], 4, 5, 3.0, items)) - pixels(model)
    assert found.total == pytest.approx(plain, rel=0.01)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("visible", [0, 4])
@pytest.mark.parametrize("fusion", ["jepa_t", {"blocks": {"type": "CrossAttention"}, "encoder": {"type": "FiLM"}}])
def test_a_training_step_costs_what_it_says(monkeypatch, fusion, visible, plain):
    model, loss = make_model(fusion=fusion), published.loss if plain else JEPAT.loss
    for module in (jepa_t.model, published):
        monkeypatch.setattr(module, "draw_split", lambda *_: random_split(32, visible))
    images, captions = random_images(32), [CAPTIONS[index % 12] for index in range(32)]
    found = counted(lambda: sum(loss(model, images, captions).values()).backward()) / 32 - pixels(model)
    assert cost.training(model, plain, visible).total == pytest.approx(found, rel=0.01)  # one null text for all


def test_the_mean_over_masks_lies_between_the_extremes():
    model = shared_model()
    few, mean, many = (cost.training(model, visible=visible).total for visible in (0, None, 5))
    assert min(few, many) < mean < max(few, many)


def test_the_peak_is_that_of_the_fastest_of_several_products(monkeypatch):
    ticks = iter([0, 4, 10, 12, 20, 28, 30, 33, 40, 43])
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(ticks))
    assert cost.peak("cpu") == 2 * 1536**3 / 2
