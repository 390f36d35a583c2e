"""Captions to image tokens: the sampler, with its reveal schedules, guidance and solvers."""

from .guidance import Guidance
from .reveal import reveal_counts, reveal_order
from .sampler import PRESETS, Generators, MaskedSampler, options_read, sampler_config
from .solvers import SOLVERS, Solver

__all__ = [
    "PRESETS",
    "SOLVERS",
    "Generators",
    "Guidance",
    "MaskedSampler",
    "Solver",
    "options_read",
    "reveal_counts",
    "reveal_order",
    "sampler_config",
]
