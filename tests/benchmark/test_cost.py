"""What is counted on the device ``meta``, each kind of call once, is what the whole costs."""

import pytest
import torch
from tiny import CAPTIONS, copy_of, make_model, random_images, random_split, shared_model
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import jepa_t.model
from jepa_t.benchmark import cost, published
from jepa_t.model import JEPAT
from jepa_t.sampling import Generators, sampler_for


def counted(function):
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        function()
    return counter.get_total_flops()


def pixels(model):
    """The image tokenizer's operations, one way."""
    return counted(lambda: model.image_tokenizer.encode(random_images(1)))


class Own(nn.Module):
    """A fusion that nobody has told the benchmark of."""

    def __init__(self, width, text_width):
        super().__init__()
        self.proj = nn.Linear(text_width, width)

    def forward(self, x, text):
        return x * self.proj(text.pooled)[:, None]


FUSIONS = ["jepa_t", "early", "late", {"blocks": {"type": "CrossAttention"}}, {"predictor": {"type": Own}}]
OPTIONS = [
    {"preset": "reference", "steps": 4, "draw": {"solver_steps": 5}},
    {"preset": "balanced", "steps": 4, "draw": {"solver_steps": (4, 2)}, "guidance_interval": (0.2, 1.0)},
    {"steps": 3, "draw": {"solver": "heun", "solver_steps": 3}, "guidance_scale": 1.0},
]


@pytest.mark.parametrize(
    ("fusion", "options"),
    [(fusion, OPTIONS[1]) for fusion in FUSIONS] + [("jepa_t", options) for options in OPTIONS[::2]],
    ids=str,
)
def test_an_image_costs_what_drawing_it_does(fusion, options):
    model = make_model(fusion=fusion)
    model.sampler = sampler_for(model.network.generative, options)
    found = cost.sampling(model, CAPTIONS[0])
    assert found.total == counted(lambda: model.generate(CAPTIONS[:1], [0])) - pixels(model)
    assert set(found.flops) == {"text", "encoder", "predictor", "head"}


@pytest.mark.parametrize("items", [published.ITEMS[:count] for count in range(5)], ids=str)
def test_the_plain_procedure_costs_what_drawing_with_it_does(items):
    model = copy_of(shared_model())

    def draw(denoiser):
        random = Generators([0], torch.device("meta"))
        published.sample_tokens(denoiser, CAPTIONS[:1], random, 4, 5, 3.0, "text_once" not in items)

    meta = cost.on_meta(model, CAPTIONS[:1])
    found = cost.Priced(published.Published(meta.ema, meta.image_tokenizer, items=items)).spent(draw)
    plain = counted(lambda: published.sample(model, CAPTIONS[:1], [0], 4, 5, 3.0, items)) - pixels(model)
    assert found.total == plain


@pytest.mark.parametrize("loss", [JEPAT.loss, published.loss])
def test_a_training_step_costs_what_it_does_at_the_mean_of_its_masks(monkeypatch, loss):
    model, images, captions = make_model(), random_images(8), CAPTIONS[:8]
    found = cost.training(model, images, captions, loss)
    assert set(found.flops) == {"text", "encoder", "target", "predictor", "head", "backward"}
    spent = []
    for number in range(cost.MASKS):
        visible = model.mask_ratio.visible_count(6, (number + 0.5) / cost.MASKS, 0)
        for module in (jepa_t.model, published):
            monkeypatch.setattr(module, "draw_split", lambda *_, visible=visible: random_split(8, visible))
        spent.append(counted(lambda: sum(loss(model, images, captions).values()).backward()) / 8)
    assert found.total == pytest.approx(sum(spent) / len(spent))


@pytest.mark.parametrize(
    ("options", "network", "head"),
    [
        ({"steps": 3, "draw": {"solver_steps": 4}, "guidance_scale": 1.0}, 3, 4),
        ({"steps": 3, "draw": {"solver_steps": 4}, "guidance_scale": 2.0}, 6, 8),
        ({"steps": 6, "draw": {"solver": "heun", "solver_steps": 4}, "guidance_scale": 1.0}, 6, 8),
    ],
)
def test_evaluations_are_counted(options, network, head):
    model = copy_of(shared_model())
    model.sampler = sampler_for(model.network.generative, options)
    found = cost.sampling(model, "seven")
    assert (found.network, found.head) == (network, pytest.approx(head))
