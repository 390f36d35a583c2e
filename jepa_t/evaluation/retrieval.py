"""Is the nearest of all real images the one that was asked for? A judge with nothing learned in it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import UserError
from ..registry import DATASETS, METRICS, build
from ..sheets import to_bytes
from .features import GradientHistograms
from .frechet import Moments, frechet_distance
from .metric import images_of, in_order
from .verdicts import Columns, PromptMetric

NOISE = 0.05  # in [0, 1], of the real images that the judge itself is tried on
LEAST = 1e-6  # distances that differ by no more are equal: a sum of so many squares in float32 tells no less
NEAREST = 5  # of which one ought to be the asked one


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
    """All real images ``[G, 3, H, W]`` in [-1, 1], in which one is looked for.

    Args:
        images: All that one is looked for among.
        first: How many of the first are looked for among these alone; what comes after is looked for among all.

    Examples:
        >>> gallery = Gallery(torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)]))
        >>> nearer, nearest = gallery.ranks(torch.full((1, 3, 4, 4), 0.9), asked=torch.tensor([1]))
        >>> nearer.item(), nearest.item()
        (0, 1)
    """

    images: Tensor
    first: int = 0

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
        others = torch.arange(len(self.images)) >= self.first
        distances = distances.masked_fill(others & (asked < self.first)[:, None], torch.inf)
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
class RetrievalMetric(PromptMetric):
    """Whether drawn images are nearest to the real ones they were asked to be, and like them as a whole.

    Figures, for each split of the prompts: ``<split>/r1`` and ``<split>/r5``, the share whose real image is the
    nearest of the gallery, or among the five nearest, after a slight blur; ``<split>/error``, the mean squared
    difference to it in [0, 1]; and ``<split>/frechet``, the Fréchet distance between the drawn images and the real ones
    they were asked to be, in features that nobody has trained (`GradientHistograms`); it is left out where there are no
    more images than features, as ``r5`` is where the gallery has no more than five. ``real/...`` are the figures of
    the real images, moved by a pixel and noised.

    Args:
        gallery: Config of a data set with ``images [G, 3, H, W]`` in [-1, 1]; a prompt's facts have in ``image`` the
            number of the one it asks for.

    Attributes:
        gallery: The gallery.
        features: What the Fréchet distance is measured in.
        distances: Of the names in a verdict, those that are numbers and no shares.

    Raises:
        UserError: The data set is refused, or has one image alone.
    """

    headlines = ("r1",)
    distances: tuple[str, ...] = ("error",)

    def __init__(self, gallery: dict) -> None:
        super().__init__()
        self.gallery = Gallery(build(gallery, DATASETS).images)
        if len(self.gallery.images) < 2:
            raise UserError("the gallery has one image, which is the nearest of any; give it more")
        self.features = GradientHistograms()

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:  # noqa: ARG002
        """Judge a batch.

        Raises:
            UserError: The images are of another size than the gallery's, or hold NaN or infinity.
        """
        images = images_of(data_samples)
        expected = self.gallery.images.shape[1:]
        if images.shape[1:] != expected:
            raise UserError(f"the gallery has images of {list(expected)}, got {list(images.shape[1:])}")
        if not images.isfinite().all():
            raise UserError("the images hold NaN or infinity, which is near to nothing; draw them anew")
        asked = torch.tensor([sample["facts"]["image"] for sample in data_samples])
        verdicts, features = self.judge(images, asked), self._features(images)
        for row, sample in enumerate(data_samples):
            kept = {name: sample[name] for name in ("index", "split", "facts")}
            verdict = {name: column[row] for name, column in verdicts.items()}
            self.results.append(kept | {"verdict": verdict, "features": features[row].numpy()})

    def judge(self, images: Tensor, asked: Tensor) -> dict[str, list]:
        """By the name of each figure, its value for each image; None where it doesn't count."""
        ranks, _ = self.gallery.ranks(images, asked)
        errors = self.gallery.errors(images, asked)
        near = (ranks < NEAREST).tolist() if len(self.gallery.images) > NEAREST else [None] * len(images)
        return {"r1": (ranks < 1).tolist(), "r5": near, "error": errors.tolist()}

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """The figures of all results, one split after the other; the results' order and repetitions don't matter."""
        figures = super().compute_metrics(results)
        splits = list(dict.fromkeys(name.partition("/")[0] for name in figures))
        return {name: figures[name] for name in sorted(figures, key=lambda name: splits.index(name.partition("/")[0]))}

    def columns(self, results: Sequence[dict]) -> Columns:
        """By the name of each figure that is a share: whether each image is right."""
        return {
            f"{split}/{name}": column
            for split, records in _by_split(in_order(results)).items()
            for name, column in _counted(record["verdict"] for record in records).items()
            if name not in self.distances
        }

    def other_figures(self, records: list[dict]) -> dict[str, float]:
        """Distances, and what the judge makes of real images."""
        figures: dict[str, float] = {}
        for split, of_split in _by_split(records).items():
            columns = _counted(record["verdict"] for record in of_split)
            figures |= {f"{split}/{name}": _mean(columns[name]) for name in self.distances if columns.get(name)}
            drawn = np.stack([record["features"] for record in of_split])
            figures |= self._frechet(split, drawn, torch.tensor([record["facts"]["image"] for record in of_split]))
        asked = torch.tensor([record["facts"]["image"] for record in records]).unique()
        disturbed = self.gallery.disturbed(asked)
        verdicts = {name: [v for v in column if v is not None] for name, column in self.judge(disturbed, asked).items()}
        figures |= {f"real/{name}": _mean(column) for name, column in verdicts.items() if column}
        return figures | self._frechet("real", self._features(disturbed).numpy(), asked)

    def _features(self, images: Tensor) -> Tensor:
        return self.features(to_bytes(images))["features"]

    def _frechet(self, split: str, drawn: np.ndarray, asked: Tensor) -> dict[str, float]:
        """``<split>/frechet`` of features ``[N, F]``, if there are enough."""
        if len(drawn) <= self.features.width:
            return {}
        clouds = drawn, self._features(self.gallery.images[asked])
        return {f"{split}/frechet": frechet_distance(*(Moments().add(cloud).gaussian() for cloud in clouds))}


def _by_split(records: Sequence[dict]) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for record in records:
        found.setdefault(record["split"], []).append(record)
    return found


def _counted(verdicts: Iterable[dict]) -> dict[str, list]:
    """By name the values that count."""
    columns: dict[str, list] = {}
    for verdict in verdicts:
        for name, value in verdict.items():
            if value is not None:
                columns.setdefault(name, []).append(value)
    return columns


def _mean(column: Sequence[float]) -> float:
    return sum(column) / len(column)
