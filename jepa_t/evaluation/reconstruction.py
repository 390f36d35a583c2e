"""How well do images survive a tokenizer, and how much of its codebook do they use?"""

from collections.abc import Sequence

import torch

from ..errors import UserError
from ..registry import METRICS
from ..tokenizers.discrete import usage
from .metric import Metric


@METRICS.register_module()
class ReconstructionMetric(Metric):
    """Error of images after a tokenizer, and the codes that a discrete one gave them.

    Figures: ``mse``, the mean square error of pixels in [-1, 1]; ``psnr``, that in decibels; of a discrete one
    ``codes_used``, the share of the codebook that occurs, and ``perplexity`` of how often each code does.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep each image's error and ids.

        Raises:
            UserError: There are no images from before the tokenizer, as in `GenerationLoop`.
        """
        if data_batch is None:
            raise UserError("ReconstructionMetric compares images with themselves; test with dict(type='TestLoop')")
        for original, sample in zip(data_batch["inputs"], data_samples, strict=True):
            error = (sample["image"].float().cpu() - original.cpu()).square().mean().item()
            codes = (sample["ids"].cpu(), sample["codebook_size"]) if "ids" in sample else None
            self.results.append((error, codes))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """The figures of all results."""
        if not results:
            return {}
        errors, codes = zip(*results, strict=True)
        mse = torch.tensor(errors, dtype=torch.float64).mean()
        figures = {"mse": mse, "psnr": 10 * torch.log10(4 / mse)}
        if codes[0] is not None:
            ids, sizes = zip(*codes, strict=True)
            figures["codes_used"], figures["perplexity"] = usage(torch.stack(ids), sizes[0])
        return {name: float(value) for name, value in figures.items()}
