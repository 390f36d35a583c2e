"""Captions to image tokens: the sampler, with its reveal schedules, guidance and solvers."""

from .guidance import Guidance
from .noise import Generators
from .reveal import reveal_counts, reveal_order
from .sampler import PRESETS, MaskedSampler, SamplerLike, own_options, presets_for, sampler_config, sampler_for
from .solvers import Solver

__all__ = [
    "PRESETS",
    "Generators",
    "Guidance",
    "MaskedSampler",
    "SamplerLike",
    "Solver",
    "own_options",
    "presets_for",
    "reveal_counts",
    "reveal_order",
    "sampler_config",
    "sampler_for",
]
