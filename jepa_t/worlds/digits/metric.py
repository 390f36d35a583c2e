"""The figures of generated inked digits, each beside what reality gets."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import UserError
from ...evaluation.frechet import Moments, frechet_distance, nearest_distance
from ...evaluation.metric import images_of, in_order
from ...evaluation.verdicts import Columns, PromptMetric, shares, swap_group
from ...registry import METRICS
from .judge import Verdict, judge
from .layouts import layout_named
from .rendering import render_facts
from .scans import SIDE, load_scans, occurrence, pick


@METRICS.register_module()
class DigitsMetric(PromptMetric):
    """Accuracy of generated inked digits, Fréchet distance and memorisation, each beside what reality gets.

    Figures, the attributes being those of `judge`:

    - ``<split>/<attribute>``: the share of the split's prompts where it is right.
    - ``swap_group``: the share of swap pairs with all right in both.
    - ``real/<attribute>``: the share right for real images, of held-out scans, for the very prompts
      asked. What is missing to 1 there is the judge's error, not the generator's.
    - ``frechet``: between the coverages (64 features) of the digits generated for ``seen`` and ``unseen``
      prompts and those of the 297 held-out scans. It falls with the number of images, so read it beside
      ``real/frechet``: the same for as many training scans of the very digits asked. Both are left out when
      there are no more digits than features.
    - ``nearest_train``: the median distance of those digits' coverages to the nearest training scan;
      ``nearest_held_out``: that of the held-out scans. Far below this, the generator copies.

    Args:
        layout: How many scans an image shows, and where, as in `DigitPrompts`.

    Raises:
        UserError: There is no such layout.
    """

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
        images = images_of(data_samples)
        verdicts, coverage = judge(images, [sample["facts"] for sample in data_samples], self.layout)
        for sample, verdict, covered in zip(data_samples, verdicts, coverage.numpy(), strict=True):
            kept = {name: sample[name] for name in ("index", "split", "facts")}
            self.results.append({**kept, "verdict": verdict, "coverage": covered})

    def other_figures(self, records: list[dict]) -> dict[str, float]:
        """The judge's own accuracy, and likeness."""
        facts = [record["facts"] for record in records]
        real = judge(render_facts(facts, self.layout), facts, self.layout)[0]
        plain = [record for record in records if record["split"] in ("seen", "unseen")]
        return shares(_by_attribute("real", real)) | _likeness(plain)

    def columns(self, results: Sequence[dict]) -> Columns:
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
        for name, features in (("frechet", generated), ("real/frechet", scans)):
            figures[name] = frechet_distance(Moments().add(features).gaussian(), truth)
    return figures
