"""How well do images survive a tokenizer, and how much of its codebook do they use?"""

from collections.abc import Sequence

import torch

from ..registry import METRICS
from ..tokenizers.discrete import usage
from .metric import Metric


@METRICS.register_module()
class ReconstructionMetric(Metric):
    """Error of images after a discrete tokenizer, and the codes it gave them.

    Figures: ``mse``, the mean square error of pixels in [-1, 1]; ``psnr``, that in decibels; ``codes_used``, the
    share of the codebook that occurs; ``perplexity`` of how often each code does.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep each image's error and ids."""
        for original, sample in zip(data_batch["inputs"], data_samples, strict=True):
            error = (sample["image"].float().cpu() - original.cpu()).square().mean().item()
            self.results.append((error, sample["ids"].cpu(), sample["codebook_size"]))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """The figures of all results."""
        if not results:
            return {}
        errors, ids, sizes = zip(*results, strict=True)
        mse = torch.tensor(errors, dtype=torch.float64).mean()
        used, perplexity = usage(torch.stack(ids), sizes[0])
        psnr = 10 * torch.log10(4 / mse)
        figures = {"mse": mse, "psnr": psnr, "codes_used": used, "perplexity": perplexity}
        return {name: float(value) for name, value in figures.items()}
