"""What judges drawn images: the contract of metrics."""

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor, nn


class Metric(BaseMetric):
    """A metric as MMEngine has it, which is also asked beforehand, and says what a reader of its figures must know.

    ``process(None, data_samples)`` keeps a record of each sample: ``image [3, H, W]``, in [-1, 1] or uint8, beside
    what the prompts say of it, ``index`` always. ``compute_metrics(results)`` makes figures of all records, whose
    order and repetitions don't matter: several processes may have padded their share.
    """

    default_prefix = ""  # flat keys; with None MMEngine warns of it

    def __init__(self) -> None:  # without MMEngine's own options, of which none acts on what is measured
        super().__init__()

    @property
    def facts(self) -> dict[str, dict]:
        """By a name: what decided the figures besides the images, such as the weights of a network."""
        return {}

    def prepare(self, model: nn.Module | None, count: int) -> None:
        """See that all is there before anything is drawn.

        Args:
            model: What draws; None for images from elsewhere.
            count: N, of the images to come.

        Raises:
            UserError: It isn't.
        """


def images_of(samples: Sequence[dict]) -> Tensor:
    """The images of samples ``[N, 3, H, W]`` in [-1, 1], also where they are uint8."""
    images = torch.stack([sample["image"] for sample in samples]).cpu()
    return images / 127.5 - 1 if images.dtype == torch.uint8 else images.float()


def in_order(results: Sequence[dict]) -> list[dict]:
    """Records sorted by ``index``, each once."""
    once = {record["index"]: record for record in results}
    return [once[index] for index in sorted(once)]
