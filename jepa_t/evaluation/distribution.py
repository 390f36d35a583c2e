"""How far generated images as a whole lie from real ones: FID, sFID, Inception Score, precision, recall, KID."""

import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.dist import get_dist_info
from torch import Tensor, nn

from ..errors import UserError
from ..files import write_atomically
from ..registry import FEATURES, METRICS, build
from ..sheets import to_bytes
from .features import FeatureExtractor, extract
from .frechet import Gaussian, Moments, frechet_distance
from .images import PACKED, Images, Packed, open_images, read
from .metric import Metric

PARTS = 10  # of the Inception Score
NEIGHBOURS = 3  # of precision and recall
SEED = 2020  # torch-fidelity's, and its generators: the same splits and subsets
ROWS = 1000  # of a table of distances that are held at once
STANDARD = 50_000  # images of an FID that needs no number beside it


def inception_score(logits: Tensor, splits: int = PARTS, seed: int = SEED) -> tuple[float, float]:
    """Mean and standard deviation over ``splits`` shuffled parts of ``exp(E KL(p(y|x) || p(y)))``, in [1, K].

    Args:
        logits: ``[N, K]``.
        splits: At most N / 2: the score of one image is 1, whatever it shows.
        seed: Of the shuffle.

    Raises:
        UserError: N is too small.

    Source: Salimans et al., arXiv 1606.03498.
    """
    if not 1 <= splits <= len(logits) // 2:
        raise UserError(f"an Inception Score of {len(logits)} images in {splits} parts: give two images for each part")
    order = np.random.RandomState(seed).permutation(len(logits))
    likely = logits.double()[order].log_softmax(1)
    bounds = [part * len(likely) // splits for part in range(splits + 1)]
    scores = []
    for start, end in pairwise(bounds):
        part = likely[start:end]
        marginal = part.exp().mean(0, keepdim=True)
        scores.append((part.exp() * (part - marginal.log())).sum(1).mean().exp().item())
    return float(np.mean(scores)), float(np.std(scores))


def precision_recall(generated: Tensor, reference: Tensor, neighbours: int = NEIGHBOURS) -> tuple[float, float]:
    """The share of generated features among the real ones, and the share of real ones among the generated.

    A point is among others if it is no further from one of them than that one's k-th nearest fellow.

    Args:
        generated: ``[N, F]``.
        reference: ``[M, F]``.
        neighbours: k.

    Raises:
        UserError: There are no more than k of either.

    Source: Kynkäänniemi et al., arXiv 1904.06991.
    """
    if min(len(generated), len(reference)) <= neighbours:
        counts = f"{len(generated)} and {len(reference)} images"
        raise UserError(f"precision and recall of {counts}: more than {neighbours} of both are needed")
    generated, reference = _double(generated), _double(reference)
    return _covered(generated, reference, neighbours), _covered(reference, generated, neighbours)


def kernel_distance(
    generated: Tensor, reference: Tensor, size: int = 1000, subsets: int = 100, seed: int = SEED
) -> tuple[float, float]:
    """Mean and standard deviation over random subsets of the unbiased squared MMD, kernel ``(x y / F + 1)^3``: KID.

    Args:
        generated: ``[N, F]``.
        reference: ``[M, F]``.
        size: Of a subset; cut to N and M.
        subsets: How many.
        seed: Of the choice.

    Raises:
        UserError: There is one of either, or none.

    Source: Binkowski et al., arXiv 1801.01401.
    """
    if min(len(generated), len(reference)) < 2:
        raise UserError(f"KID of {len(generated)} and {len(reference)} images: at least 2 of both are needed")
    generated, reference = _double(generated), _double(reference)
    size = min(size, len(generated), len(reference))
    random, distances = np.random.RandomState(seed), []
    for _ in range(subsets):
        x, y = (part[random.choice(len(part), size, replace=False)] for part in (generated, reference))
        within = sum(kernel.sum() - kernel.trace() for kernel in (_kernel(x, x), _kernel(y, y)))
        distances.append(within / (size * (size - 1)) - 2 * _kernel(x, y).mean())
    found = torch.stack(distances)
    return found.mean().item(), found.std(correction=0).item()


@dataclass(frozen=True)
class Reference:
    """What is known of the real images.

    Attributes:
        features: Normal distribution of the features.
        spatial: That of the spatial ones, for sFID.
        rows: The features themselves ``[M, F]``, for precision, recall and KID.
        images: Images of which the features are still to be extracted.
        count: How many images the statistics are of; None where a file doesn't say, as ADM's.
    """

    features: Gaussian | None = None
    spatial: Gaussian | None = None
    rows: Tensor | None = None
    images: Images | None = None
    count: int | None = None


def save_statistics(path: Path, extractor: Any, found: Iterable[dict[str, Tensor]], keep: bool) -> int:
    """Write what FID needs of real images: ``mu``, ``sigma``, and for sFID ``mu_s``, ``sigma_s``.

    Args:
        path: An ``.npz``.
        extractor: What made the features.
        found: Features in batches.
        keep: Write the features too, for precision, recall and KID.

    Returns:
        How many images there were.

    Raises:
        UserError: There were fewer than two.
    """
    moments = {"features": Moments(), "spatial": Moments()}
    rows = []
    for batch in found:
        for name, moment in moments.items():
            moment.add(batch.get(name, torch.zeros(0, 0)))
        if keep:
            rows.append(batch["features"].numpy())
    arrays: dict[str, np.ndarray] = {"count": np.array(moments["features"].count)}
    for ending, moment in zip(("", "_s"), moments.values(), strict=True):
        if moment.count or not ending:
            fitted = moment.gaussian()
            arrays |= {f"mu{ending}": fitted.mean.numpy(), f"sigma{ending}": fitted.covariance.numpy()}
    if keep:
        arrays["features"] = np.concatenate(rows)
    arrays["features_sha256"] = np.array(extractor.facts["features_sha256"])
    write_atomically(path, lambda file: np.savez(file, **arrays))
    return moments["features"].count


def open_reference(source: str, extractor: Any) -> Reference:
    """Real images from a folder, or from an ``.npz``: of statistics, of images, or, as ADM's, of both.

    Args:
        source: The path.
        extractor: What the generated images are seen by.

    Raises:
        UserError: There is nothing of use, or it was made by another extractor.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        images = open_images(path)
        return Reference(images=images, count=len(images))
    if not path.is_file():
        raise UserError(f"reference '{path}' doesn't exist; docs/evaluation.md says where ADM's files are")
    try:
        with np.load(path, allow_pickle=False) as file:
            known = {name: file[name] for name in file.files if name != PACKED}
            packed = PACKED in file.files
    except (OSError, ValueError) as error:
        raise UserError(f"reference '{path}' is damaged or no .npz: {error}") from error
    ours = extractor.facts["features_sha256"]
    if str(known.get("features_sha256", ours)) != ours:
        raise UserError(f"reference '{path}' was made with other feature weights; make it anew (make_statistics.py)")
    fitted = {
        ending: Gaussian(*(torch.from_numpy(known[name + ending]).double() for name in ("mu", "sigma")))
        for ending in ("", "_s")
        if f"mu{ending}" in known and f"sigma{ending}" in known
    }
    if not fitted and not packed:
        raise UserError(f"reference '{path}' holds {', '.join(known) or 'nothing'}; it needs mu and sigma, or {PACKED}")
    if "" in fitted and fitted[""].mean.shape != (extractor.width,):
        found = len(fitted[""].mean)
        raise UserError(f"reference '{path}' is of {found} features, the extractor gives {extractor.width}")
    rows = torch.from_numpy(known["features"]) if "features" in known else None
    images = Packed(path) if packed and rows is None else None
    count = int(known["count"]) if "count" in known else len(images) if images and not fitted else None
    return Reference(fitted.get(""), fitted.get("_s"), rows, images, count)


@METRICS.register_module()
class DistributionMetric(Metric):
    """Distances of generated images to real ones, in the features of another network.

    Figures, where N is the number of images: ``FID-<N>``, ``sFID-<N>`` and ``IS-<N>`` (without ``-<N>`` for
    50,000), ``precision``, ``recall``, ``KID``; and ``IS_std``, ``KID_std``. The score needs logits, sFID a
    reference with spatial statistics, precision, recall and KID one with features or images; what can't be had is
    left out. With other features than Inception's the names are such as ``DINOv2/FD-<N>`` and ``DINOv2/KD``.

    Args:
        features: Config of an extractor, of ``FEATURES``.
        reference: What :func:`open_reference` reads; None for the Inception Score alone.
        allow_few: Give distances of no more images than features too, which mean nothing: for tests.
        batch_size: Images of the reference that are read at once.

    Raises:
        UserError: ``features`` or ``reference`` can't be used.
    """

    def __init__(
        self, features: dict, reference: str | None = None, allow_few: bool = False, batch_size: int = 64
    ) -> None:
        super().__init__()
        self.features, self.source, self.allow_few, self.batch_size = features, reference, allow_few, batch_size

    @cached_property
    def extractor(self) -> FeatureExtractor:
        """The network, built when it is first needed."""
        return build(self.features, FEATURES, FeatureExtractor)

    @cached_property
    def reference(self) -> Reference:
        """What is known of the real images."""
        return Reference() if self.source is None else open_reference(self.source, self.extractor)

    @cached_property
    def fitted(self) -> Gaussian | None:
        """The real images' distribution; of images, once they have been looked at."""
        return self.reference.features

    def prepare(self, _model: nn.Module | None, count: int) -> None:
        """See that all is there before anything is drawn.

        Args:
            count: N, of the images to come.

        Raises:
            UserError: It isn't, or N is too small.
        """
        reference = self.reference
        if self.extractor.classifies and count < 2 * PARTS and not self.allow_few:
            raise UserError(f"an Inception Score of {count} images has no meaning; use at least {2 * PARTS}")
        if self.source is not None:
            self._refuse_few("generated", count)
        if reference.count is not None:
            self._refuse_few("real", reference.count)

    def _refuse_few(self, what: str, count: int) -> None:
        width = self.extractor.width
        if count <= width and not self.allow_few:
            raise UserError(
                f"a Fréchet distance of {count} {what} images in {width} features has no meaning; "
                f"use more than {width}, for papers {STANDARD:,} (allow_few=True for a test)"
            )

    @property
    def facts(self) -> dict[str, dict]:
        """What a reader must know of the figures, by the extractor's name."""
        facts = dict(self.extractor.facts)
        if self.source is not None:
            facts["reference"] = Path(self.source).name
            if self.fitted is not None:
                facts["reference_sha256"] = hashlib.sha256(self.fitted.mean.numpy().tobytes()).hexdigest()
        return {type(self.extractor).__name__: facts}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:  # noqa: ARG002
        """Keep the features of images: ``image [3, H, W]``, uint8 or in [-1, 1], and ``index`` of each."""
        self._keep(
            "generated", [sample["index"] for sample in data_samples], [to_bytes(s["image"]) for s in data_samples]
        )

    def evaluate(self, _size: int) -> dict[str, float]:
        """Look at the reference too, each process at its share, and give the figures of both."""
        images = self.reference.images
        if images is not None:
            for indices, batch in read(images, self.batch_size, 0, *get_dist_info()):
                self._keep("reference", indices, batch)
        return super().evaluate(sys.maxsize)  # the records are of batches, none of them padding

    def compute_metrics(self, results: list[tuple[str, list[int], dict[str, np.ndarray]]]) -> dict[str, float]:
        """The figures of all results, whose order and repetitions don't matter."""
        generated, real, known = _in_order(results, "generated"), _in_order(results, "reference"), self.reference
        if not generated:
            return {}
        count = len(generated["features"])
        rows = known.rows if known.rows is not None else real.get("features")
        prefix = f"{self.extractor.prefix}/" if self.extractor.prefix else ""
        distance, kernel = ("FD", "KD") if prefix else ("FID", "KID")
        ending = "" if count == STANDARD else f"-{count}"
        figures = {}
        for name, part, fitted in ((distance, "features", known.features), (f"s{distance}", "spatial", known.spatial)):
            if fitted is None and known.features is None and part in real:
                fitted = Moments().add(real[part]).gaussian()
            if part == "features":
                self.fitted = fitted
            if fitted is not None and part in generated:
                self._refuse_few("generated", count)
                figures[f"{name}{ending}"] = frechet_distance(Moments().add(generated[part]).gaussian(), fitted)
        if "logits" in generated:
            figures[f"IS{ending}"], figures["IS_std"] = inception_score(generated["logits"], min(PARTS, count // 2))
        if rows is not None:
            figures["precision"], figures["recall"] = precision_recall(generated["features"], rows)
            figures[kernel], figures[f"{kernel}_std"] = kernel_distance(generated["features"], rows)
        return {f"{prefix}{name}": value for name, value in figures.items()}

    def _keep(self, which: str, indices: list[int], images: Sequence[Tensor]) -> None:
        found = extract(self.extractor, images)
        self.results.append((which, indices, {name: value.numpy() for name, value in found.items()}))


def _in_order(results: list[tuple], which: str) -> dict[str, Tensor]:
    """The features of all images of one kind, sorted by index, each once."""
    chosen = [(indices, found) for kind, indices, found in results if kind == which]
    if not chosen:
        return {}
    _, order = np.unique(np.concatenate([indices for indices, _ in chosen]), return_index=True)
    return {
        name: torch.from_numpy(np.concatenate([found[name] for _, found in chosen])[order]) for name in chosen[0][1]
    }


def _double(features: Tensor) -> Tensor:
    """In float64, where there is a fast device that has it."""
    device = get_device()
    return features.to(device if device.startswith("cuda") else "cpu", torch.float64)


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _covered(points: Tensor, others: Tensor, neighbours: int) -> float:
    """The share of points within reach of one of the others."""
    radii = [_distances(rows, others).kthvalue(neighbours + 1).values for rows in others.split(ROWS)]  # itself is one
    reach = torch.cat(radii)
    return torch.cat([(_distances(rows, others) <= reach).any(1) for rows in points.split(ROWS)]).double().mean().item()


def _distances(one: Tensor, other: Tensor) -> Tensor:
    """Squared distances ``[N, M]``, by one product."""
    sizes = one.square().sum(1)[:, None] + other.square().sum(1)
    return torch.addmm(sizes, one, other.T, alpha=-2)
