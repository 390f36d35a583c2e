"""Do images of inked digits show what their prompts say?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from ..data.digit_prompts import render_facts
from ..data.digits import INKS, PAPERS, SIDE, Layout, layout_named, load_scans, occurrence, pick
from ..errors import UserError
from ..registry import METRICS
from .frechet import Moments, frechet_distance, nearest_distance
from .verdicts import Columns, in_order, shares, swap_group

# An image further than this (root mean square) from all blends of an ink and a paper, or whose coverage
# varies by no more than a half, shows nothing. Noise of 0.2 on a real image is forgiven, mere noise is not.
ILLEGIBLE = 0.25
FAINT = 0.5

Verdict = dict[str, bool]


@dataclass(frozen=True)
class Parse:
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


def parse(images: Tensor) -> Parse:
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
    return Parse(digits, inks, papers, coverage)


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
    seen = parse(parts.flatten(0, 1))
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


@METRICS.register_module()
class DigitsMetric(BaseMetric):
    """Accuracy of generated inked digits, Fréchet distance and memorisation, each beside what reality gets.

    Figures, the attributes being those of `judge`:

    - ``<split>/<attribute>``: the share of the split's prompts where it is right.
    - ``swap_group``: the share of swap pairs with all right in both.
    - ``oracle/<attribute>``: the share right for real images, of held-out scans, for the very prompts
      asked. What is missing to 1 there is the oracle's error, not the generator's.
    - ``frechet``: between the coverages (64 features) of the digits generated for ``seen`` and ``unseen``
      prompts and those of the 297 held-out scans. It falls with the number of images, so read it beside
      ``frechet_floor``: the same for as many training scans of the very digits asked. Both are left out when
      there are no more digits than features.
    - ``nearest_train``: the median distance of those digits' coverages to the nearest training scan;
      ``nearest_held_out``: that of the held-out scans. Far below this, the generator copies.

    Args:
        layout: As in `DigitPrompts`.

    Raises:
        UserError: There is no such layout.
    """

    default_prefix = ""  # flat keys; with None MMEngine warns of it

    def __init__(self, layout: str = "single") -> None:
        super().__init__()
        self.layout_name, self.layout = layout, layout_named(layout)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:  # noqa: ARG002
        """Judge a batch and keep verdicts and coverages.

        Raises:
            UserError: Images or facts are of another layout.
        """
        for sample in data_samples:
            self._check(sample)
        images = torch.stack([sample["image"] for sample in data_samples]).float().cpu()
        verdicts, coverage = judge(images, [sample["facts"] for sample in data_samples], self.layout)
        for sample, verdict, covered in zip(data_samples, verdicts, coverage.numpy(), strict=True):
            kept = {name: sample[name] for name in ("index", "split", "facts")}
            self.results.append({**kept, "verdict": verdict, "coverage": covered})

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """The figures of all results, whose order and repetitions don't matter."""
        records = in_order(results)
        if not records:
            return {}
        facts = [record["facts"] for record in records]
        oracle = judge(render_facts(facts, self.layout), facts, self.layout)[0]
        figures = shares(self.columns(records)) | shares(_by_attribute("oracle", oracle))
        return figures | _likeness([r for r in records if r["split"] in ("seen", "unseen")])

    @staticmethod
    def columns(results: Sequence[dict]) -> Columns:
        """By the name of each figure that is a share: whether each image, or pair, is right."""
        records, columns = in_order(results), {}
        for split in dict.fromkeys(record["split"] for record in records):
            columns |= _by_attribute(split, [record["verdict"] for record in records if record["split"] == split])
        return columns | {"swap_group": swap_group(records)}

    def _check(self, sample: dict) -> None:
        shape, places = tuple(sample["image"].shape), len(sample["facts"]["digits"])
        if shape != (3, *self.layout.size) or places != self.layout.places:
            raise UserError(
                f"DigitsMetric layout={self.layout_name!r} judges {self.layout.places} digits on images of "
                f"{(3, *self.layout.size)}, got {places} on {shape}: data, prompts and metric need one layout"
            )


def _by_attribute(prefix: str, verdicts: Sequence[Verdict]) -> Columns:
    columns: Columns = {}
    for verdict in verdicts:
        for attribute, right in verdict.items():
            columns.setdefault(f"{prefix}/{attribute}", []).append(right)
    return columns


def _likeness(records: list[dict]) -> dict[str, float]:
    """Fréchet and nearest-neighbour distances of the records' coverages."""
    if not records:
        return {}
    train, held_out = (scans.coverage.flatten(1) for scans in load_scans())
    generated = np.stack([record["coverage"] for record in records]).reshape(-1, SIDE**2)
    figures = {
        "nearest_train": float(nearest_distance(generated, train).median()),
        "nearest_held_out": float(nearest_distance(held_out, train).median()),
    }
    if len(generated) > SIDE**2:
        asked = np.concatenate([record["facts"]["digits"] for record in records])
        scans = pick(load_scans()[0], asked, occurrence(asked)).flatten(1)
        truth = Moments().add(held_out).gaussian()
        for name, features in (("frechet", generated), ("frechet_floor", scans)):
            figures[name] = frechet_distance(Moments().add(features).gaussian(), truth)
    return figures
