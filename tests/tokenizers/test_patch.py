"""Patches and their principal components: invertible, best first, and kept."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import GRID, SIZE, fitted_tokenizer, float64, generator, make_tokenizer, random_images, smooth_images

from jepa_t import PatchTokenizer
from jepa_t.errors import UserError

seeds = st.integers(0, 1000)


@given(
    seed=seeds,
    grid=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    patch=st.integers(1, 3),
    fit=st.booleans(),
    whiten=st.booleans(),
)
@float64()
def test_patches_and_all_components_are_exactly_invertible(seed, grid, patch, fit, whiten):
    size = grid[0] * patch, grid[1] * patch
    tokenizer = PatchTokenizer(size, patch, whiten=whiten)
    if fit:
        tokenizer.fit(smooth_images(40, size, seed))
    images = torch.rand(2, 3, *size, generator=generator(seed)) * 2 - 1
    tokens = tokenizer.encode(images)
    assert tokens.shape == (2, grid[0] * grid[1], 3 * patch * patch)
    torch.testing.assert_close(tokenizer.decode(tokens), images, atol=1e-6, rtol=0)


@given(seed=seeds, row=st.integers(0, 3), column=st.integers(0, 5))
def test_a_pixel_belongs_to_one_token_in_row_major_order(seed, row, column):
    tokenizer = fitted_tokenizer("PatchTokenizer")
    before = random_images(1, seed)
    after = before.clone()
    after[0, :, row, column] += 0.5
    changed = (tokenizer.encode(after) != tokenizer.encode(before)).any(-1)
    assert changed[0].nonzero().flatten().tolist() == [row // 2 * GRID[1] + column // 2]


@pytest.mark.parametrize("whiten", [False, True])
def test_more_components_are_never_worse_and_the_best_come_first(whiten):
    images, errors = smooth_images(256), []
    for channels in range(1, 13):
        tokenizer = fitted_tokenizer("PatchTokenizer", channels=channels, whiten=whiten)
        tokens = tokenizer.encode(images)
        errors.append((tokenizer.decode(tokens) - images).square().mean().item())
        assert tokens.square().mean().item() == pytest.approx(1.0, abs=0.01)
        if whiten:
            torch.testing.assert_close(tokens.flatten(0, 1).std(0), torch.ones(channels), atol=0.01, rtol=0)
    steps = [a - b for a, b in itertools.pairwise(errors)]
    assert min(steps) >= -1e-7
    assert all(a >= b - 1e-6 for a, b in itertools.pairwise(steps))
    assert errors[-1] < 1e-10


@float64()
def test_without_whitening_an_error_weighs_what_it_weighs_in_pixels():
    tokenizer = PatchTokenizer(SIZE, 2)
    tokenizer.fit(smooth_images(256))
    one, other = tokenizer.encode(smooth_images(2, seed=3)), tokenizer.encode(smooth_images(2, seed=4))
    distances = [
        (a - b).norm() / (tokenizer.decode(a) - tokenizer.decode(b)).norm()
        for a, b in ((one, other), (one[:1], one[1:]), (one, one + 1.0))
    ]
    torch.testing.assert_close(torch.stack(distances), distances[0].expand(3))


@pytest.mark.parametrize("whiten", [False, True])
def test_images_that_never_vary_give_finite_tokens(whiten):
    tokenizer = PatchTokenizer(SIZE, 2, whiten=whiten)
    tokenizer.fit(torch.full((8, 3, *SIZE), 0.5))
    images = torch.full((1, 3, *SIZE), 0.5)
    assert tokenizer.encode(images).isfinite().all()
    torch.testing.assert_close(tokenizer.decode(tokenizer.encode(images)), images)


def test_a_fit_survives_saving_and_loading():
    tokenizer = fitted_tokenizer("PatchTokenizer", channels=5)
    other = make_tokenizer("PatchTokenizer", channels=5)
    assert not other.fitted
    other.load_state_dict(tokenizer.state_dict())
    assert other.fitted
    images = random_images(2)
    assert torch.equal(other.encode(images), tokenizer.encode(images))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"patch": 4}, "tokens of 4 x 4 pixels don't divide the image size 4 x 6"),
        ({"patch": 0}, "tokens of 0 x 0 pixels"),
        ({"channels": 13}, "channels=13; a patch has 1 to 12"),
        ({"channels": 0}, "channels=0"),
        ({"chanels": 3}, "did you mean 'channels'"),
    ],
)
def test_a_wrong_patch_option_is_told(options, says):
    with pytest.raises(UserError, match=says):
        make_tokenizer("PatchTokenizer", **options)
