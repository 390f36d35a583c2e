"""Laws of the Fréchet distance and of the nearest neighbours."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jepa_t.errors import UserError
from jepa_t.evaluation.frechet import Gaussian, Moments, frechet_distance, nearest_distance

seeds = st.integers(0, 2**32 - 1)
counts = st.integers(2, 60)  # fewer rows than features included
widths = st.integers(1, 12)


def cloud(seed: int, count: int, width: int) -> torch.Tensor:
    """Correlated features with a mean of their own."""
    generator = torch.Generator().manual_seed(seed)
    raw, mixing, mean = (
        torch.randn(rows, width, generator=generator, dtype=torch.float64) for rows in (count, width, 1)
    )
    return raw @ mixing + mean


def fitted(features: torch.Tensor) -> Gaussian:
    return Moments().add(features).gaussian()


@given(seeds, counts, widths)
def test_a_distribution_is_at_no_distance_from_itself(seed, count, width):
    same = fitted(cloud(seed, count, width))
    assert frechet_distance(same, same) < 1e-12 * (1 + float(same.covariance.trace()))


@given(seeds, counts, counts, widths)
def test_the_distance_is_symmetric_and_positive(seed, count, other_count, width):
    one, other = fitted(cloud(seed, count, width)), fitted(cloud(seed + 1, other_count, width))
    forth, back = frechet_distance(one, other), frechet_distance(other, one)
    assert forth > 0
    assert forth == pytest.approx(back, rel=1e-10)


@given(seeds, counts, counts, widths)
def test_rotating_and_moving_both_changes_nothing(seed, count, other_count, width):
    one, other = cloud(seed, count, width), cloud(seed + 1, other_count, width)
    rotation, _ = torch.linalg.qr(cloud(seed + 2, width, width))
    moved = [fitted(features @ rotation + 3) for features in (one, other)]
    assert frechet_distance(*moved) == pytest.approx(frechet_distance(fitted(one), fitted(other)), rel=1e-8)


@given(seeds, widths)
def test_the_distance_of_axis_parallel_normals_is_the_closed_form(seed, width):
    means, spreads = cloud(seed, 2, width), cloud(seed + 1, 2, width).abs()
    normals = [Gaussian(mean, spread.square().diag()) for mean, spread in zip(means, spreads, strict=True)]
    expected = (means[0] - means[1]).square().sum() + (spreads[0] - spreads[1]).square().sum()
    assert frechet_distance(*normals) == pytest.approx(float(expected), rel=1e-9)


@given(seeds, st.integers(20, 60), st.integers(2, 12))
def test_the_distance_is_the_textbook_formula(seed, count, width):
    from scipy.linalg import sqrtm

    one, other = fitted(cloud(seed, count, width)), fitted(cloud(seed + 1, count, width))
    first, second = one.covariance.numpy(), other.covariance.numpy()
    expected = ((one.mean - other.mean) ** 2).sum().item()
    expected += np.trace(first + second - 2 * np.real(sqrtm(first @ second)))
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-6)


@given(seeds, st.integers(2, 60), widths, st.data())
def test_batches_and_their_order_do_not_matter(seed, count, width, data):
    features = cloud(seed, count, width) + 1e4  # squares summed without centring would lose 8 digits here
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=6)))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    streamed = Moments()
    for batch in features[order].tensor_split(cuts):
        streamed.add(batch)
    assert streamed.count == count
    result = streamed.gaussian()
    exact = np.cov(features.numpy(), rowvar=False).reshape(width, width)
    scale = np.abs(exact).max()
    np.testing.assert_allclose(result.mean, features.mean(0), rtol=1e-12)
    np.testing.assert_allclose(result.covariance, exact, rtol=0, atol=1e-10 * scale)


def test_single_precision_and_arrays_are_taken_in_double():
    features = cloud(0, 50, 4).float()
    assert torch.equal(fitted(features).covariance, fitted(features.numpy()).covariance)
    assert torch.equal(fitted(features).covariance, fitted(features.double()).covariance)
    assert fitted(features).covariance.dtype == torch.float64


@given(seeds, counts, counts, widths)
def test_nearest_distances_are_those_of_a_search(seed, count, other_count, width):
    one, other = cloud(seed, count, width), cloud(seed + 1, other_count, width)
    searched = torch.stack([(other - row).square().sum(1).sqrt().min() for row in one])
    torch.testing.assert_close(nearest_distance(one, other), searched)


@given(seeds, st.integers(30, 60), widths)
def test_copies_are_at_distance_zero(seed, count, width):
    features = cloud(seed, count, width)
    assert nearest_distance(features[:7], features).max() == 0


def test_mistakes_are_told():
    with pytest.raises(UserError, match="at least 2"):
        Moments().add(torch.zeros(1, 3)).gaussian()
    with pytest.raises(UserError, match="NaN"):
        Moments().add(torch.tensor([[0.0, float("nan")]]))
    with pytest.raises(UserError, match="3 against 4 features"):
        frechet_distance(fitted(cloud(0, 9, 3)), fitted(cloud(0, 9, 4)))
