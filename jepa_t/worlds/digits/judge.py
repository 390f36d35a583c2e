"""Do images of inked digits show what their prompts say?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .layouts import Layout
from .scans import SIDE, load_scans
from .scenes import INKS, PAPERS

# An image further than this (root mean square) from all blends of an ink and a paper, or whose coverage
# varies by no more than a half, shows nothing. Noise of 0.2 on a real image is forgiven, mere noise is not.
ILLEGIBLE = 0.25
FAINT = 0.5

Verdict = dict[str, bool]


@dataclass(frozen=True)
class Reading:
    """What images of one scan each show, as far as one can tell.

    Attributes:
        digits: The digits ``[N]``, -1 where the image shows nothing.
        inks: Positions in `INKS` ``[N]``, or -1.
        papers: Positions in `PAPERS` ``[N]``, or -1.
        coverage: How much of each pixel is inked ``[N, 8, 8]``, in [0, 1].
    """

    digits: np.ndarray
    inks: np.ndarray
    papers: np.ndarray
    coverage: Tensor


def read(images: Tensor) -> Reading:
    """Read images of one scan each ``[N, 3, 8, 8]``, which may hold anything, NaN included.

    Ink and paper are the two colours whose blends lie nearest to the pixels, the coverage is how far each
    pixel lies on the line from paper to ink, and the digit is what a classifier makes of the coverage.
    """
    finite = images.isfinite().flatten(1).all(1)
    # Blank grey paper stands for what is no image at all.
    images = torch.where(finite[:, None, None, None], images, 0).clamp(-1, 1)
    coverage, error = _blends(images)
    error, best = error.min(1)
    papers, inks = np.divmod(best.numpy(), len(INKS))
    coverage = coverage[torch.arange(len(best)), best]
    digits = _classifier().predict(coverage.flatten(1).numpy())
    contrast = coverage.amax((1, 2)) - coverage.amin((1, 2))
    nothing = ((error > ILLEGIBLE) | (contrast <= FAINT)).numpy()
    digits, inks, papers = (np.where(nothing, -1, column) for column in (digits, inks, papers))
    return Reading(digits, inks, papers, coverage)


def _blends(images: Tensor) -> tuple[Tensor, Tensor]:
    """For every pair of paper and ink the best coverage ``[N, pairs, 8, 8]`` and its error ``[N, pairs]``."""
    paper = torch.tensor(list(PAPERS.values())).repeat_interleave(len(INKS), 0)[:, :, None, None]
    line = torch.tensor(list(INKS.values())).repeat(len(PAPERS), 1)[:, :, None, None] - paper
    above = images[:, None] - paper
    coverage = ((above * line).sum(2) / line.square().sum(1)).clamp(0, 1)
    return coverage, (above - coverage[:, :, None] * line).square().mean((2, 3, 4)).sqrt()


@cache
def _classifier() -> Any:
    """A support-vector classifier of coverages, fitted on the training scans alone.

    Its two numbers come from a cross-validation on those, clean (0.991 right) and with noise of 0.1 (0.993).
    """
    from sklearn.svm import SVC

    train, _ = load_scans()
    return SVC(C=10, gamma=0.18).fit(train.coverage.flatten(1).numpy(), train.digits)


def judge(images: Tensor, facts: Sequence[dict], layout: Layout) -> tuple[list[Verdict], Tensor]:
    """Compare images with what was asked, each place by itself.

    Args:
        images: Images ``[N, 3, H, W]`` in [-1, 1].
        facts: What each should show, as in `DigitPrompts`.
        layout: How the scans are laid out.

    Returns:
        Per image, whether ``digit`` and ``ink`` are right (of two scans ``digits`` and ``inks``: both at
        their places), ``paper`` where it was asked for, and ``all`` of these; and the coverages
        ``[N, places, 8, 8]``.
    """
    parts = torch.stack(images.split(SIDE, dim=layout.axis), 1)
    seen = read(parts.flatten(0, 1))
    digits, inks, papers = (
        column.reshape(-1, layout.places).tolist() for column in (seen.digits, seen.inks, seen.papers)
    )
    ending = "s" if layout.places > 1 else ""
    ink_names, paper_names = [*INKS, None], [*PAPERS, None]  # the last is what -1 points at
    verdicts = []
    for asked, digit, ink, paper in zip(facts, digits, inks, papers, strict=True):
        verdict = {
            f"digit{ending}": digit == asked["digits"],
            f"ink{ending}": [ink_names[i] for i in ink] == asked["inks"],
        }
        if asked["paper"] is not None:
            verdict["paper"] = {paper_names[i] for i in paper} == {asked["paper"]}
        verdicts.append({"all": all(verdict.values())} | verdict)
    return verdicts, seen.coverage.unflatten(0, (-1, layout.places))
