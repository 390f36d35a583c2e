"""A sampler run on a model that records what it is asked."""

import functools

import torch
from tiny import make_model, random_text, shared_model, with_objective

from jepa_t.denoiser import Denoiser
from jepa_t.sampling import MaskedSampler, own_options


def network(fusion="jepa_t", dtype=torch.float32):
    """What samplers see of the shared model."""
    return denoiser(shared_model(fusion, dtype))


def denoiser(model):
    """What samplers see of a model."""
    return Denoiser(model.ema, model.image_tokenizer)


@functools.cache
def model_by(objective):
    """Of random weights, over discrete tokens, and generating by this objective."""
    return make_model(**with_objective(objective))


class Watched:
    """A model that records what a sampler asks of it, and hides from the network what it must not read."""

    def __init__(self, model, poison=None):
        self.model, self.network, self.poison = model, model.network, poison
        self.grid, self.channels = model.grid, model.channels
        self.splits, self.tokens, self.draws, self.drawn = [], [], [], []
        self.evaluated = 0

    def null(self, batch):
        return self.model.null(batch)

    def condition(self, tokens, split, text, branches=1):
        self.splits.append(split)
        self.tokens.append(tokens)
        self.evaluated += len(text.pooled)
        if self.poison is not None:
            hidden = torch.ones(tokens.shape[:2], dtype=torch.bool).scatter(1, split.visible, False)
            tokens = tokens.masked_fill(hidden[..., None], self.poison)
        return self.model.condition(tokens, split, text, branches)

    def draw(self, condition, random, null, scale, **options):
        self.draws.append((condition.shape[1], options, null is not None, scale))
        self.drawn.append(self.model.draw(condition, random, null, scale, **options))
        return self.drawn[-1]


@torch.no_grad()
def sample(model=None, text=None, batch_seeds=(0, 1, 2), **options):
    """Tokens of a short sampling of ``model``, or of ``network()``."""
    model = model or network()
    target = model.model if isinstance(model, Watched) else model
    few = {"solver_steps": 3} if "solver_steps" in own_options(target.network.generative) else {}
    sampler = MaskedSampler(**{"steps": 3} | options | {"draw": few | options.get("draw", {})})
    return sampler(model, random_text(len(batch_seeds)) if text is None else text, batch_seeds)
