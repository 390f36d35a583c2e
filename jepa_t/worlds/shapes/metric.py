"""Do images of ShapeScenes show what their prompts say?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ...data.hashing import Stream
from ...errors import UserError
from ...evaluation.metric import in_order
from ...evaluation.verdicts import Columns, PromptMetric, swap_group
from ...registry import METRICS
from .captions import contents_from
from .judge import judge, nearest_size, read
from .rendering import render
from .scenes import SHAPES, Contents, Preset, Scenes, cell_of, complete, preset_named

# The split that holds a family's own unseen compositions.
UNSEEN = {
    "single": "unseen_binding",
    "located": "unseen_place",
    "related": "unseen_relation",
    "counted": "unseen_count",
}
COMPLETIONS = 16  # true scenes drawn of each prompt, for the histogram of what it leaves open
SAID, ABSENT = -2, -1


@METRICS.register_module()
class ShapesMetric(PromptMetric):
    """Accuracy of generated scenes by an exact judge, quality of the drawing, and diversity.

    ================================  ====================================================================
    ``<split>/<attribute>``           Share of a split's prompts where the attribute is right.
    ``<split>/<family>/<attribute>``  The same of one caption family.
    ``unseen/swap_group``             Share of swap pairs with all right in both. A model that reads bags of
                                      words gets at most half of the prompts and a quarter of the pairs.
    ``residual``                      Root mean square difference in [0, 1] between an image and the scene
                                      read from it, rendered anew; the mean.
    ``diversity``                     Total variation in [0, 1] between images and true scenes of what the
                                      prompts leave open: background, and size and cell of the first object,
                                      jointly. 0 is best.
    ``real/all``                      The share of true images of these very prompts that the judge
                                      finds right in all; what is missing to 1 is its own error.
    ``real/diversity``                Total variation of these images: what chance alone gives.
    ================================  ====================================================================

    The attributes are those of `judge` that the prompts state, and ``all``. The splits are those of
    `ShapePrompts`, but the split of a family's own unseen compositions is called ``unseen``: `unseen_binding`
    for ``single``, `unseen_place` for ``located``, `unseen_relation` for ``related`` and `unseen_count` for
    ``counted``.

    Args:
        preset: The family of scenes that training had, as in `ShapeScenes`.

    Raises:
        UserError: There is no such preset.
    """

    def __init__(self, preset: str | Mapping = "tiny") -> None:
        super().__init__()
        self.preset = preset_named(preset)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:  # noqa: ARG002
        """Judge a batch and keep the verdicts.

        Raises:
            UserError: The images have another size than the preset's.
        """
        expected = (3, self.preset.size, self.preset.size)
        for sample in data_samples:
            if tuple(sample["image"].shape) != expected:
                raise UserError(
                    f"ShapesMetric judges images of {expected}, got {tuple(sample['image'].shape)}: "
                    "data, prompts and metric need one preset"
                )
        facts = [sample["facts"] for sample in data_samples]
        reading = read(torch.stack([sample["image"] for sample in data_samples]), self.preset)
        verdicts = judge(reading, facts, self.preset)
        open_factors = factors(reading.scenes, contents_from(facts), self.preset)
        for sample, verdict, factor in zip(data_samples, verdicts, open_factors.tolist(), strict=True):
            kept = {name: sample[name] for name in ("index", "split", "facts")}
            residual = verdict.pop("residual")
            self.results.append({**kept, "verdict": verdict, "residual": residual, "factor": factor})

    def columns(self, results: Sequence[dict]) -> Columns:
        """By the name of each figure that is a share: whether each image, or pair, is right."""
        records, columns = in_order(results), {}
        for record in records:
            family, split = record["facts"]["family"], record["split"]
            split = "unseen" if split == UNSEEN[family] else split
            for attribute, right in record["verdict"].items():
                for key in (f"{split}/{attribute}", f"{split}/{family}/{attribute}"):
                    columns.setdefault(key, []).append(right)
        return dict(sorted(columns.items())) | {"unseen/swap_group": swap_group(records)}

    def other_figures(self, records: list[dict]) -> dict[str, float]:
        """Quality of the drawing, diversity, and what the judge makes of true images."""
        facts, index = [record["facts"] for record in records], np.arange(len(records))
        contents = contents_from(facts)

        def true_scenes(name: str) -> Scenes:
            return complete(contents, self.preset, Stream(0, name, index))

        many = [factors(true_scenes(f"truth {i}"), contents, self.preset) for i in range(COMPLETIONS)]
        truth = np.concatenate(many)
        # the name is a seed: another would draw other scenes than those of published figures
        reading = read(render(true_scenes("oracle"), self.preset.size), self.preset)
        right = [verdict["all"] for verdict in judge(reading, facts, self.preset)]
        return {
            "residual": float(np.mean([record["residual"] for record in records])),
            "diversity": total_variation(np.array([record["factor"] for record in records]), truth),
            "real/all": float(np.mean(right)),
            "real/diversity": total_variation(factors(reading.scenes, contents, self.preset), truth),
        }


def factors(scenes: Scenes, contents: Contents, preset: Preset) -> np.ndarray:
    """What contents leave open, as scenes have it: one whole number ``[N]`` for background, size and cell.

    Size and cell are those of the first object that was asked for, or of any where there is none such. What
    the contents state counts as one value.
    """
    kind = np.where(scenes.shapes < 0, -1, scenes.colours * len(SHAPES) + scenes.shapes)
    likely = (kind == contents.kinds[:, :1]) + 0.5 * (scenes.colours >= 0)
    first, rows = likely.argmax(1), np.arange(len(kind))
    absent = likely.max(1) == 0
    size = np.where(absent, ABSENT, nearest_size(scenes.radii[rows, first], preset))
    cell = np.where(absent, ABSENT, cell_of(scenes.centres[rows, first], preset.size))
    number = np.zeros(len(kind), np.int64)
    for found, said in (
        (scenes.background, contents.background),
        (size, contents.sizes[:, 0]),
        (cell, contents.place),
    ):
        number = number * 16 + np.where(said >= 0, SAID, found) + 2
    return number


def total_variation(first: np.ndarray, second: np.ndarray) -> float:
    """Half the summed difference between the histograms of two samples of whole numbers, in [0, 1]."""
    counts = [np.bincount(sample, minlength=16**3) / len(sample) for sample in (first, second)]
    return float(abs(counts[0] - counts[1]).sum() / 2)
