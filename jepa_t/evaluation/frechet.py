"""How far two clouds of features lie apart, in float64: the Fréchet distance, and nearest neighbours."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution fitted to features: ``mean [F]``, ``covariance [F, F]``, float64 on the CPU."""

    mean: Tensor
    covariance: Tensor


class Moments:
    """Mean and covariance of features that come in batches, whatever the batches and their order.

    Attributes:
        count: How many rows have been added.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean = self._scatter = torch.zeros((), dtype=torch.float64)

    def add(self, features: Tensor | np.ndarray) -> "Moments":
        """Take in a batch ``[N, F]`` and return self.

        Centred on the batch's own mean first: sums of raw squares would cancel where the mean is large.

        Raises:
            UserError: A feature is not finite.
        """
        features = _float64(features)
        if not len(features):
            return self
        if not features.isfinite().all():
            raise UserError("features contain NaN or infinity; look at the images they were made from")
        mean = features.mean(0)
        centred, shift = features - mean, mean - self._mean
        total = self.count + len(features)
        share = len(features) / total
        self._mean = self._mean + shift * share
        self._scatter = self._scatter + centred.T @ centred + shift.outer(shift) * (self.count * share)
        self.count = total
        return self

    def gaussian(self) -> Gaussian:
        """The normal distribution of these moments, with the unbiased covariance.

        Raises:
            UserError: Fewer than two rows have been added.
        """
        if self.count < 2:
            raise UserError(f"statistics of {self.count} images: a covariance needs at least 2")
        return Gaussian(self._mean, self._scatter / (self.count - 1))


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """The squared Wasserstein-2 distance of two normal distributions, at least 0: the FID of their features.

    ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2)``. The last trace is taken as the sum of the
    singular values of ``S1^1/2 S2^1/2``: they are the roots of those eigenvalues, but right to 1e-15 where
    the root of a rounded eigenvalue that should be 0 is off by 1e-8.

    Raises:
        UserError: The two have different numbers of features.

    Examples:
        >>> one = Moments().add(torch.tensor([[0.0], [2.0]])).gaussian()
        >>> other = Moments().add(torch.tensor([[1.0], [3.0]])).gaussian()
        >>> round(frechet_distance(one, other), 6)
        1.0
    """
    if one.mean.shape != other.mean.shape:
        raise UserError(
            f"Fréchet distance of {len(one.mean)} against {len(other.mean)} features: "
            "use statistics of the same features"
        )
    overlap = torch.linalg.svdvals(_root(one.covariance) @ _root(other.covariance)).sum()
    spread = one.covariance.trace() + other.covariance.trace() - 2 * overlap
    return max(0.0, float((one.mean - other.mean).square().sum() + spread))


def nearest_distance(features: Tensor | np.ndarray, reference: Tensor | np.ndarray) -> Tensor:
    """Euclidean distance ``[N]`` of features ``[N, F]`` to the nearest reference ``[M, F]``; 0 for a copy."""
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(_float64(features), _float64(reference), compute_mode=exact).amin(1)


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def _float64(features: Tensor | np.ndarray) -> Tensor:
    return torch.as_tensor(features, dtype=torch.float64, device="cpu")
