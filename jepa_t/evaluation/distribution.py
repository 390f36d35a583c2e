"""How far generated images as a whole lie from real ones: FID, sFID, Inception Score, precision, recall, KID."""

import hashlib
import importlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.dist import get_dist_info
from torch import Tensor, nn

from ..errors import UserError, first_line, optional
from ..files import write_atomically
from ..registry import FEATURES, METRICS, build
from ..sheets import to_bytes
from .features import FeatureExtractor, extract
from .frechet import Gaussian, Moments, frechet_distance
from .images import PACKED, UNREADABLE, Images, Packed, open_images, read, refuse_inflated
from .metric import Metric

NEIGHBOURS = 3  # of precision and recall
PARTS = 10  # of the Inception Score
SUBSET = 1000  # images of each subset of KID
STATISTICS = ("mu", "sigma", "mu_s", "sigma_s", "count", "features", "features_sha256")  # arrays of a reference
STANDARD = 50_000  # images of an FID that needs no number beside it


def fidelity(metric: str) -> ModuleType:
    """torch-fidelity's module of a metric, whose splits, subsets and seed are its own."""
    optional("torch_fidelity", "DistributionMetric", "fidelity")
    return importlib.import_module(f"torch_fidelity.metric_{metric}")


def inception_score(logits: Tensor) -> dict[str, float]:
    """``IS`` and ``IS_std``: mean and deviation over shuffled parts of ``exp(E KL(p(y|x) || p(y)))``, in [1, K].

    Args:
        logits: ``[N, K]``. Of fewer than 20 there are fewer than ten parts, since one of a single image says 1.

    Source: Salimans et al., arXiv 1606.03498.
    """
    found = fidelity("isc").isc_features_to_metric(logits, splits=max(min(PARTS, len(logits) // 2), 1))
    return {"IS": found["inception_score_mean"], "IS_std": found["inception_score_std"]}


def neighbours_and_kernel(generated: Tensor, reference: Tensor) -> dict[str, float]:
    """``precision``, ``recall``, ``KID`` and ``KID_std``.

    The share of generated features among the real ones and the other way round, where a point is among others if it
    is no further from one of them than that one's third fellow; and mean and deviation over random subsets of the
    unbiased squared MMD, kernel ``(x y / F + 1)^3``.

    Args:
        generated: ``[N, F]``.
        reference: ``[M, F]``.

    Raises:
        UserError: There are no more than three of either.

    Source: Kynkäänniemi et al., arXiv 1904.06991; Binkowski et al., arXiv 1801.01401.
    """
    least = min(len(generated), len(reference))
    if least <= NEIGHBOURS:
        counts = f"{len(generated)} generated and {len(reference)} real images"
        raise UserError(f"precision, recall and KID of {counts} have no meaning; use more than {NEIGHBOURS} of both")
    device = get_device()
    features = [x.to(device if device.startswith("cuda") else "cpu", torch.float64) for x in (generated, reference)]
    options = {"prc_neighborhood": NEIGHBOURS, "kid_subset_size": min(SUBSET, least), "verbose": False}
    prc = fidelity("prc").prc_features_to_metric(*features, save_cpu_ram=True, **options)
    kid = fidelity("kid").kid_features_to_metric(*features, **options)
    figures = {"precision": prc["precision"], "recall": prc["recall"]}
    return figures | {
        "KID": kid["kernel_inception_distance_mean"],
        "KID_std": kid["kernel_inception_distance_std"],
    }


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


def save_statistics(
    path: str | Path, extractor: FeatureExtractor, found: Iterable[dict[str, Tensor]], keep: bool
) -> int:
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


def open_reference(source: str, extractor: FeatureExtractor) -> Reference:
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
    known, packed = _arrays(path)
    fitted = {
        ending: _gaussian(path, known, ending)
        for ending in ("", "_s")
        if {f"mu{ending}", f"sigma{ending}"} <= known.keys()
    }
    if not fitted and not packed:
        raise UserError(f"reference '{path}' holds {', '.join(known) or 'nothing'}; it needs mu and sigma, or {PACKED}")
    _check_made_by(extractor, path, known, fitted.get(""))
    rows = known.get("features")
    if rows is not None and (rows.dtype.kind != "f" or rows.shape[1:] != (extractor.width,)):
        raise UserError(
            f"reference '{path}': features are {rows.dtype} {rows.shape}, not numbers [M, {extractor.width}]"
        )
    rows = None if rows is None else torch.from_numpy(rows)
    images = Packed(path) if packed and rows is None else None
    if "count" in known and (known["count"].shape or known["count"].dtype.kind not in "iu"):
        raise UserError(f"reference '{path}': count is {known['count']!r}, not a whole number")
    count = int(known["count"]) if "count" in known else len(images) if images and not fitted else None
    return Reference(fitted.get(""), fitted.get("_s"), rows, images, count)


def _arrays(path: Path) -> tuple[dict[str, np.ndarray], bool]:
    """What an ``.npz`` holds beside images, and whether it holds images."""
    if not path.is_file():
        raise UserError(f"reference '{path}' doesn't exist; docs/evaluation.md says where ADM's files are")
    try:
        with np.load(path, allow_pickle=False) as file:
            for part in file.zip.infolist():
                if part.filename != f"{PACKED}.npy":
                    refuse_inflated(part)
            return {name: file[name] for name in STATISTICS if name in file.files}, PACKED in file.files
    except (*UNREADABLE, AttributeError) as error:  # a lone array has no members
        raise UserError(f"reference '{path}' is damaged or no .npz of statistics: {first_line(error)}") from error


def _gaussian(path: Path, known: dict[str, np.ndarray], ending: str) -> Gaussian:
    """A normal distribution among the arrays of a file.

    Raises:
        UserError: It is none.
    """
    mean, covariance = known[f"mu{ending}"], known[f"sigma{ending}"]
    numbers = all(array.dtype.kind == "f" and np.isfinite(array).all() for array in (mean, covariance))
    if mean.ndim != 1 or covariance.shape != (len(mean),) * 2 or not numbers or (covariance.diagonal() < 0).any():
        raise UserError(
            f"reference '{path}': mu{ending} and sigma{ending} are no mean [F] and covariance [F, F] of finite numbers"
        )
    return Gaussian(torch.from_numpy(mean).double(), torch.from_numpy(covariance).double())


def _check_made_by(
    extractor: FeatureExtractor, path: Path, known: dict[str, np.ndarray], fitted: Gaussian | None
) -> None:
    ours = extractor.facts["features_sha256"]
    if str(known.get("features_sha256", ours)) != ours:
        raise UserError(f"reference '{path}' was made with other feature weights; make it anew (make_statistics.py)")
    if fitted is not None and fitted.mean.shape != (extractor.width,):
        found = len(fitted.mean)
        raise UserError(f"reference '{path}' is of {found} features, the extractor gives {extractor.width}")


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
        allow_few: Give figures of so few images too that they mean nothing: for tests.
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
        if self.extractor.classifies:
            self._refuse_few(f"an Inception Score of {count} images", count, 2 * PARTS)
        if self.source is not None:
            self._refuse_few_for_distance("generated", count)
        if self.reference.count is not None:
            self._refuse_few_for_distance("real", self.reference.count)

    def _refuse_few_for_distance(self, which: str, count: int) -> None:
        width = self.extractor.width
        self._refuse_few(f"a Fréchet distance of {count} {which} images in {width} features", count, width + 1)

    def _refuse_few(self, what: str, count: int, least: int) -> None:
        if count < least and not self.allow_few:
            raise UserError(
                f"{what} has no meaning; use {least} or more, for papers {STANDARD:,} "
                "(for a test allow_few=True, or --allow-few)"
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
        if known.features is None:  # of images, all of which have been looked at
            known = replace(
                known, **{name: Moments().add(real[name]).gaussian() for name in real.keys() & {"features", "spatial"}}
            )
        self.fitted = known.features
        figures = {}
        for name, part, fitted in (("FID", "features", known.features), ("sFID", "spatial", known.spatial)):
            if fitted is not None and part in generated:
                self._refuse_few_for_distance("generated", count)
                figures[name] = frechet_distance(Moments().add(generated[part]).gaussian(), fitted)
        if "logits" in generated:
            self._refuse_few(f"an Inception Score of {count} images", count, 2 * PARTS)
            figures |= inception_score(generated["logits"])
        if rows is not None:
            figures |= neighbours_and_kernel(generated["features"], rows)
        return {self._name(name, count): value for name, value in figures.items()}

    def _name(self, figure: str, count: int) -> str:
        """``sFID`` as ``sFID-5000``; of other features than Inception's ``DINOv2/sFD-5000``."""
        ending = f"-{count}" if figure in ("FID", "sFID", "IS") and count != STANDARD else ""
        prefix = self.extractor.prefix
        return f"{prefix}/{figure.replace('ID', 'D')}{ending}" if prefix else f"{figure}{ending}"

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
