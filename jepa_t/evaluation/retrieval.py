"""Is the nearest of all real images the one that was asked for? A judge with nothing learned in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import UserError
from ..registry import DATASETS, METRICS, build
from .metric import Metric, in_order

NOISE = 0.05  # in [0, 1], of the real images that the judge itself is tried on
LEAST = 1e-9  # distances that differ by no more are equal


def blur(images: Tensor) -> Tensor:
    """Images ``[N, 3, H, W]`` smoothed by a pixel, so that a thin line a little off its place is still near."""
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=images.device) / 16
    for shape in ((1, 1, 5, 1), (1, 1, 1, 5)):
        pad = (0, 0, 2, 2) if shape[2] == 5 else (2, 2, 0, 0)
        x = F.pad(images, pad, mode="replicate")
        images = F.conv2d(x, kernel.view(shape).expand(3, 1, *shape[2:]), groups=3)
    return images


@dataclass
class Gallery:
    """All real images ``[G, 3, H, W]`` in [-1, 1], in which one is looked for."""

    images: Tensor

    def __post_init__(self) -> None:
        self._flat = blur(self.images.float()).flatten(1)
        self._squares = self._flat.square().sum(1)

    def distances(self, images: Tensor) -> Tensor:
        """Mean squared differences in [0, 1] of blurred images ``[N, 3, H, W]`` to all of the gallery ``[N, G]``."""
        flat = blur(images.float()).flatten(1)
        products = torch.addmm(self._squares, flat, self._flat.T, alpha=-2) + flat.square().sum(1, keepdim=True)
        return products / (4 * flat.shape[1])

    def ranks(self, images: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """How many of the gallery are nearer than the one asked for ``[N]``, and the nearest ``[N]``.

        Equal ones count for the asked one.
        """
        distances = self.distances(images)
        own = distances.gather(1, asked[:, None])
        return (distances < own - LEAST).sum(1), distances.argmin(1)

    def errors(self, images: Tensor, asked: Tensor) -> Tensor:
        """Mean squared differences in [0, 1] of images to the ones asked for, not blurred ``[N]``."""
        return (images.float() - self.images[asked]).square().flatten(1).mean(1) / 4

    def disturbed(self, asked: Tensor) -> Tensor:
        """Real images ``[N, 3, H, W]`` moved by a pixel and noised, which a judge ought to know all the same."""
        moved = F.pad(self.images[asked], (1, 0, 0, 0), mode="replicate")[..., :-1]
        noise = torch.randn(moved.shape, generator=torch.Generator().manual_seed(0))
        return (moved + 2 * NOISE * noise).clamp(-1, 1)


@METRICS.register_module()
class RetrievalMetric(Metric):
    """Whether drawn images are nearest to the real ones they were asked to be.

    Figures, for each split of the prompts: ``<split>/r1`` and ``<split>/r5``, the share whose real image is the
    nearest of the gallery, or among the five nearest, after a slight blur; ``<split>/error``, the mean squared
    difference to it in [0, 1]; ``oracle/r1``: of the real images themselves, moved by a pixel and noised.

    Args:
        gallery: Config of a data set with ``images [G, 3, H, W]`` in [-1, 1]; a prompt's facts have in ``image`` the
            number of the one it asks for.

    Raises:
        UserError: The data set is refused.
    """

    def __init__(self, gallery: dict) -> None:
        super().__init__()
        self.gallery = Gallery(build(gallery, DATASETS).images)

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:  # noqa: ARG002
        """Judge a batch.

        Raises:
            UserError: The images are of another size than the gallery's.
        """
        images = torch.stack([sample["image"] for sample in data_samples]).float().cpu()
        expected = self.gallery.images.shape[1:]
        if images.shape[1:] != expected:
            raise UserError(f"the gallery has images of {list(expected)}, got {list(images.shape[1:])}")
        asked = torch.tensor([sample["facts"]["image"] for sample in data_samples])
        verdicts = self.judge(images, asked)
        for row, sample in enumerate(data_samples):
            kept = {name: sample[name] for name in ("index", "split", "facts")}
            self.results.append(kept | {"verdict": {name: column[row] for name, column in verdicts.items()}})

    def judge(self, images: Tensor, asked: Tensor) -> dict[str, list]:
        """By the name of each figure, its value for each image; None where it doesn't count."""
        ranks, _ = self.gallery.ranks(images, asked)
        errors = self.gallery.errors(images, asked)
        return {"r1": (ranks < 1).tolist(), "r5": (ranks < 5).tolist(), "error": errors.tolist()}

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """The figures of all results, whose order and repetitions don't matter."""
        records = in_order(results)
        if not records:
            return {}
        asked = torch.tensor([record["facts"]["image"] for record in records]).unique()
        oracle = self.judge(self.gallery.disturbed(asked), asked)
        columns = self.columns(records) | {f"oracle/{name}": _counted(column) for name, column in oracle.items()}
        return {name: sum(column) / len(column) for name, column in columns.items() if column}

    def columns(self, results: Sequence[dict]) -> dict[str, list]:
        """By the name of each figure: its value for each image."""
        columns: dict[str, list] = {}
        for record in in_order(results):
            for name, value in record["verdict"].items():
                columns.setdefault(f"{record['split']}/{name}", []).append(value)
        return {name: _counted(column) for name, column in columns.items()}


def _counted(column: Sequence) -> list:
    return [value for value in column if value is not None]
