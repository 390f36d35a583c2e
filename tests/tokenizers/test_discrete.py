"""The contract of discrete image tokenizers: ids, their codes, and the way back from any vector."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import DISCRETE, SIZE, TOKENS, fitted_tokenizer, generator, make_tokenizer, shared_tokenizer, smooth_images

from jepa_t.errors import UserError
from jepa_t.registry import TOKENIZERS
from jepa_t.tokenizers.discrete import DiscreteTokenizer, nearest, usage
from jepa_t.tokenizers.maps import to_maps, to_tokens

discrete = pytest.mark.parametrize("name", DISCRETE)
seeds = st.integers(0, 1000)


def test_every_discrete_tokenizer_is_tested_here():
    kinds = {name for name, kind in TOKENIZERS.module_dict.items() if issubclass(kind, DiscreteTokenizer)}
    assert kinds == set(DISCRETE)


@discrete
def test_ids_are_whole_numbers_in_range_and_vary(name):
    tokenizer = shared_tokenizer(name)
    ids = tokenizer.ids(smooth_images(50, seed=2))
    assert ids.shape == (50, TOKENS)
    assert ids.dtype == torch.int64
    assert ids.min() >= 0
    assert ids.max() < tokenizer.codebook_size
    assert len(ids.unique()) > 20


@discrete
def test_snap_undoes_embed_for_the_whole_codebook_in_any_shape(name):
    tokenizer = shared_tokenizer(name)
    whole = torch.arange(tokenizer.codebook_size)
    for ids in (whole, whole[:24].view(2, 3, 4), whole[:1]):
        tokens = tokenizer.embed(ids)
        assert tokens.shape == (*ids.shape, tokenizer.channels)
        assert torch.equal(tokenizer.snap(tokens), ids)


@discrete
@given(seed=seeds)
def test_tokens_are_the_codes_of_the_ids(name, seed):
    tokenizer, images = shared_tokenizer(name), smooth_images(4, seed=seed)
    ids = tokenizer.ids(images)
    assert torch.equal(tokenizer.encode(images), tokenizer.embed(ids))
    assert torch.equal(tokenizer.snap(tokenizer.encode(images)), ids)


@discrete
@given(seed=seeds)
def test_decode_ends_on_the_codes_that_quantize_gives(name, seed):
    """A continuous objective must end on codes that exist."""
    tokenizer = shared_tokenizer(name)
    anywhere = 2 * torch.randn(2, TOKENS, tokenizer.channels, generator=generator(seed))
    snapped = tokenizer.quantize(anywhere)
    assert torch.equal(snapped, tokenizer.embed(tokenizer.snap(anywhere)))
    assert torch.equal(tokenizer.quantize(snapped), snapped)
    assert torch.equal(tokenizer.decode(anywhere), tokenizer.decode(snapped))


@discrete
def test_encoding_in_training_mode_changes_nothing(name):
    tokenizer, images = fitted_tokenizer(name), smooth_images(8)
    before = {key: value.clone() for key, value in tokenizer.state_dict().items()}
    tokens = tokenizer.eval().encode(images)
    assert torch.equal(tokenizer.train().encode(images), tokens)
    for key, value in tokenizer.state_dict().items():
        assert torch.equal(value, before[key]), key


@discrete
def test_codes_that_never_vary_give_finite_tokens(name):
    tokenizer = make_tokenizer(name)
    image = smooth_images(1)
    tokenizer.fit(image.expand(8, -1, -1, -1))
    assert tokenizer.codes.isfinite().all()
    assert tokenizer.decode(tokenizer.encode(image)).isfinite().all()


@discrete
def test_many_images_are_measured_in_parts_and_by_an_even_share(name, monkeypatch):
    images = smooth_images(240)
    whole, parts, share = make_tokenizer(name), make_tokenizer(name), make_tokenizer(name)
    whole.fit(images)
    monkeypatch.setattr("jepa_t.tokenizers.discrete.PIXELS", 170)  # 7 images
    parts.fit(images)
    torch.testing.assert_close(parts.codes, whole.codes)
    monkeypatch.setattr("jepa_t.tokenizers.discrete.MEASURED", 130)  # every second image
    share.fit(images)
    whole.fit(images[::2])
    torch.testing.assert_close(share.codes, whole.codes)


@discrete
@pytest.mark.parametrize("call", ["ids", "encode", "fit"])
def test_images_of_another_size_are_refused(name, call):
    with pytest.raises(UserError, match=r"the images are \[3, 6, 4\], the tokenizer takes \[3, 4, 6\]"):
        getattr(shared_tokenizer(name), call)(torch.zeros(1, 3, 6, 4))


# Snapping


@given(seed=seeds, spread=st.sampled_from([1.0, 1e-3, 1e-5, 1e-7]), channels=st.sampled_from([2, 8]))
def test_nearest_equals_the_plain_one(seed, spread, channels):
    """Also for thousands of unused codes close together, aside of the origin, beside others that are used."""
    random = generator(seed)
    unused = 1.5 + spread * torch.randn(300, channels, generator=random)
    table = torch.cat([torch.randn(40, channels, generator=random), unused]).unique(dim=0)
    x = torch.cat([table, torch.randn(100, channels, generator=random)])
    x = torch.cat([x, table + 0.3 * spread * torch.randn(table.shape, generator=random)])
    plain = (x[:, None].double() - table.double()).square().sum(-1).argmin(-1)
    assert torch.equal(nearest(x, table), plain)
    assert torch.equal(nearest(table, table), torch.arange(len(table)))
    assert torch.equal(nearest(table, torch.cat([table, table])), torch.arange(len(table)))  # of equals the first


def test_nearest_tells_two_codes_apart_that_differ_in_the_last_bit():
    table = 10 * torch.randn(100, 4, generator=generator(0))
    table[:, 1] /= 1e4
    other = table.clone()
    other[:, 1] = torch.nextafter(other[:, 1], torch.tensor(torch.inf))
    both = torch.cat([table, other])
    assert torch.equal(nearest(both, both), torch.arange(200))


def test_nearest_in_parts_is_the_same(monkeypatch):
    x, table = torch.randn(7, 11, 3), torch.randn(20, 3)
    whole = nearest(x, table)
    monkeypatch.setattr("jepa_t.tokenizers.discrete.DISTANCES", 45)
    assert whole.shape == (7, 11)
    assert torch.equal(nearest(x, table), whole)


def test_usage_of_known_ids():
    used, perplexity = usage(torch.tensor([[0, 0], [3, 3]]), 8)
    assert used.item() == 0.25
    assert perplexity.item() == pytest.approx(2.0)
    used, perplexity = usage(torch.arange(8), 8)
    assert (used.item(), perplexity.item()) == (1.0, pytest.approx(8.0))
    assert usage(torch.tensor([5]), 8)[1].item() == pytest.approx(1.0)


# Several codes in one token


@given(seed=seeds, patch=st.integers(1, 3), grid=st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_maps_and_tokens_are_each_other_s_inverse(seed, patch, grid):
    maps = torch.randn(2, 5, grid[0] * patch, grid[1] * patch, generator=generator(seed))
    tokens = to_tokens(maps, patch)
    assert tokens.shape == (2, grid[0] * grid[1], 5 * patch**2)
    assert torch.equal(to_maps(tokens, grid, patch), maps)
    first = maps[:, :, :patch, :patch].flatten(1)
    assert torch.equal(tokens[:, 0], first)


@pytest.mark.parametrize("patch", [2, 4])
@discrete
def test_a_group_of_codes_is_one_token_without_an_id(name, patch):
    size = (4 * patch, 6 * patch)
    plain = fitted_tokenizer(name, size=size)
    grouped = fitted_tokenizer(name, size=size, patch=patch)
    images = smooth_images(3, size)
    tokens = grouped.encode(images)
    assert grouped.grid == tuple(side // patch for side in plain.grid)
    assert grouped.stride == patch * plain.stride
    assert tokens.shape == (3, math.prod(grouped.grid), patch**2 * plain.channels)
    maps = to_maps(plain.encode(images), plain.grid, 1)
    grouped.load_state_dict(plain.state_dict())
    assert torch.equal(to_maps(grouped.encode(images), grouped.grid, patch), maps)
    assert torch.equal(grouped.decode(grouped.encode(images)), plain.decode(plain.encode(images)))
    codes = plain.embed(plain.snap(to_tokens(maps + 1e-4, 1)))  # each by itself
    quantized = grouped.quantize(to_tokens(maps + 1e-4, patch))
    assert torch.equal(quantized, to_tokens(to_maps(codes, plain.grid, 1), patch))
    assert (plain.codes_per_token, grouped.codes_per_token) == (1, patch**2)
    for call, value in (("ids", images), ("embed", torch.zeros(1, dtype=torch.int64)), ("snap", tokens)):
        with pytest.raises(UserError, match=f"patch={patch}: such a token has no id; ids need patch=1"):
            getattr(grouped, call)(value)


@pytest.mark.parametrize(
    ("patch", "says"), [(0, "0 x 0 pixels"), (3, "6 x 6 pixels don't divide the image size 4 x 6")]
)
def test_a_group_that_does_not_fit_is_told(patch, says):
    assert SIZE == (4, 6)
    with pytest.raises(UserError, match=says):
        make_tokenizer("VQTokenizer", patch=patch)
