"""Do images show what their captions say, as CLIP sees it?"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn

from ..model import JEPAT
from ..registry import FEATURES, METRICS, build
from ..sheets import to_bytes
from .features import CLIPFeatures, extract
from .metric import Metric, in_order

SCALE = 100.0


@METRICS.register_module()
class CLIPScoreMetric(Metric):
    """``clip_score``: the mean of ``max(100 cos, 0)`` of images and their captions (Hessel et al., arXiv 2104.08718,
    whose own scale is 2.5).

    Args:
        features: Config of :class:`~jepa_t.evaluation.features.CLIPFeatures`.

    Raises:
        UserError: ``features`` can't be used.
    """

    def __init__(self, features: dict) -> None:
        super().__init__()
        self.features = features

    @cached_property
    def extractor(self) -> CLIPFeatures:
        """The network, built when it is first needed."""
        return build(self.features, FEATURES, CLIPFeatures)

    @property
    def facts(self) -> dict[str, dict]:
        """What a reader must know of the figure, by the extractor's name."""
        return {type(self.extractor).__name__: self.extractor.facts}

    def prepare(self, model: nn.Module | None, count: int) -> None:  # noqa: ARG002
        """See before anything is drawn that this isn't the text encoder that the model was conditioned on.

        Raises:
            UserError: It is.
        """
        if isinstance(model, JEPAT):
            self.extractor.refuse_own(model.network.text_tokenizer)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:  # noqa: ARG002
        """Keep the cosine of each ``image`` and its ``caption``."""
        seen = extract(self.extractor, [to_bytes(sample["image"]) for sample in data_samples])["features"]
        said = self.extractor.texts([sample["caption"] for sample in data_samples])
        for sample, cosine in zip(data_samples, (seen * said).sum(1).tolist(), strict=True):
            self.results.append({"index": sample["index"], "cosine": cosine})

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """The figure of all results."""
        cosines = torch.tensor([record["cosine"] for record in in_order(results)], dtype=torch.float64)
        return {"clip_score": SCALE * cosines.clamp(min=0).mean().item()}
