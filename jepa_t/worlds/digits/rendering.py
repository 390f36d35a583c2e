"""Inked digits as images: scans in coloured ink on coloured paper."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...data.hashing import draw
from .layouts import Layout
from .scans import load_scans, pick_at_random
from .scenes import INKS, PAPERS, Scenes


def render(coverage: Tensor, scenes: Scenes, layout: Layout) -> Tensor:
    """Ink scans on paper.

    Args:
        coverage: Coverage of the scans ``[N, places, 8, 8]`` in [0, 1].
        scenes: Their inks and papers.
        layout: How the scans are laid out.

    Returns:
        Images ``[N, 3, H, W]`` in [-1, 1].
    """
    paper = torch.tensor(list(PAPERS.values()))[scenes.papers][:, None, :, None, None]
    ink = torch.tensor(list(INKS.values()))[scenes.inks][..., None, None]
    parts = paper + coverage[:, :, None] * (ink - paper)
    return torch.cat(parts.unbind(1), dim=layout.axis)


def render_facts(facts: Sequence[dict], layout: Layout) -> Tensor:
    """Real images of the facts ``[N, 3, H, W]``, of held-out scans; a paper left open is drawn."""
    _, held_out = load_scans()
    index = np.arange(len(facts))
    digits = np.array([fact["digits"] for fact in facts])
    inks = np.array([[list(INKS).index(ink) for ink in fact["inks"]] for fact in facts])
    said = [-1 if fact["paper"] is None else list(PAPERS).index(fact["paper"]) for fact in facts]
    papers = np.where(np.array(said) < 0, draw(0, "held-out paper", index, len(PAPERS)), said)
    coverage = pick_at_random(held_out, digits, 0, "held-out", index)
    return render(coverage, Scenes(digits, inks, papers), layout)
