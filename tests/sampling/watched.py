"""A sampler run on a model that records what it is asked."""

import functools

import torch
from tiny import make_model, random_text, shared_model, with_objective

from jepa_t.sampling import MaskedSampler, options_read


def network(fusion="jepa_t", dtype=torch.float32):
    """The shared model's average, which is what samplers draw from."""
    return shared_model(fusion, dtype).ema


@functools.cache
def model_by(objective):
    """Of random weights, over discrete tokens, and generating by this objective."""
    return make_model(**with_objective(objective))


class Watched:
    """A model that records what a sampler asks of it, and hides from the network what it must not read."""

    def __init__(self, model, poison=None):
        self.model, self.grid, self.channels = model, model.grid, model.channels
        self.gives_confidence, self.poison = model.gives_confidence, poison
        self.splits, self.tokens, self.draws, self.drawn = [], [], [], []
        self.evaluated = 0

    def null(self, batch):
        return self.model.null(batch)

    def condition(self, tokens, split, text):
        self.splits.append(split)
        self.tokens.append(tokens)
        self.evaluated += len(text.pooled)
        if self.poison is not None:
            hidden = torch.ones(tokens.shape[:2], dtype=torch.bool).scatter(1, split.visible, False)
            tokens = tokens.masked_fill(hidden[..., None], self.poison)
        return self.model.condition(tokens, split, text)

    @property
    def draw(self):
        @functools.wraps(self.model.draw)
        def draw(condition, random, null, scale, **options):
            self.draws.append((condition.shape[1], options, null is not None, scale))
            self.drawn.append(self.model.draw(condition, random, null, scale, **options))
            return self.drawn[-1]

        return draw


@torch.no_grad()
def sample(model=None, text=None, batch_seeds=(0, 1, 2), **options):
    """Tokens of a short sampling of ``model``, or of ``network()``."""
    model = model or network()
    few = {"solver_steps": 3} if "solver_steps" in options_read(model.draw) else {}
    sampler = MaskedSampler(**{"steps": 3} | few | options)
    return sampler(model, random_text(len(batch_seeds)) if text is None else text, batch_seeds)
