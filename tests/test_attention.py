"""Laws of the attention function, on every back end that runs here."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import float64, generator

from jepa_t import attention as module
from jepa_t.attention import attention
from jepa_t.errors import UserError

backends = pytest.mark.parametrize("backend", ["math", "sdpa", "auto"])
shapes = st.tuples(*[st.integers(1, n) for n in (3, 3, 5, 7, 4)])


def inputs(seed, batch, heads, queries, keys, channels):
    random = generator(seed)
    q, k, v = (torch.randn(batch, heads, n, channels, generator=random) for n in (queries, keys, keys))
    valid = torch.rand(batch, keys, generator=random) < 0.5
    valid[:, 0] = True
    return q, k, v, valid


def formula(q, k, v, valid):
    out = torch.zeros_like(q)
    for b, h, i in torch.cartesian_prod(*map(torch.arange, q.shape[:3])).tolist():
        keys = valid[b].nonzero().flatten()
        weights = torch.stack([torch.exp(q[b, h, i] @ k[b, h, j] / q.shape[-1] ** 0.5) for j in keys])
        out[b, h, i] = weights @ v[b, h, keys] / weights.sum()
    return out


@backends
@given(seed=st.integers(0, 1000), shape=shapes)
@float64()
def test_it_is_the_softmax_formula(backend, seed, shape):
    q, k, v, valid = inputs(seed, *shape)
    torch.testing.assert_close(attention(q, k, v, valid, backend), formula(q, k, v, valid))
    everything = torch.ones_like(valid)
    torch.testing.assert_close(attention(q, k, v, None, backend), formula(q, k, v, everything))


@backends
def test_what_lies_under_the_padding_never_matters(backend):
    q, k, v, valid = inputs(0, 3, 2, 4, 6, 8)
    hidden = ~valid[:, None, :, None]
    other = attention(q, k.masked_fill(hidden, 1e4), v.masked_fill(hidden, -7.0), valid, backend)
    assert torch.equal(other, attention(q, k, v, valid, backend))


@backends
@float64()
def test_queries_keys_and_values_each_receive_gradient(backend):
    q, k, v, valid = inputs(1, 2, 2, 3, 5, 4)
    q, k, v = (x.requires_grad_() for x in (q, k, v))
    attention(q, k, v, valid, backend).square().sum().backward()
    found = [x.grad.clone() for x in (q, k, v)]
    for x in (q, k, v):
        x.grad = None
    formula(q, k, v, valid).square().sum().backward()
    for x, gradient in zip((q, k, v), found, strict=True):
        assert gradient.abs().max() > 1e-3
        torch.testing.assert_close(gradient, x.grad)


@pytest.mark.parametrize("backend", ["math", "sdpa"])
def test_dropout_is_random_and_keeps_the_mean(backend):
    q, k, _, _ = inputs(4, 4, 4, 8, 64, 8)
    v = torch.ones(4, 4, 64, 8)
    out = attention(q, k, v, None, backend, dropout=0.3)
    assert out.std() > 0.01
    assert out.mean() == pytest.approx(1.0, abs=0.05)
    assert not torch.equal(out, attention(q, k, v, None, backend, dropout=0.3))
    torch.testing.assert_close(attention(q, k, v, None, backend), v[:, :, :8])


@pytest.mark.parametrize("backend", ["math", "sdpa"])
def test_half_precision_stays_finite_with_padding(backend):
    q, k, v, valid = (x.bfloat16() if x.is_floating_point() else x for x in inputs(5, 2, 2, 3, 5, 8))
    out = attention(100 * q, 100 * k, v, valid, backend)
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()


def test_auto_on_a_cpu_chooses_by_precision_also_that_of_autocast(monkeypatch):
    used = []
    for name in module.BACKENDS:
        monkeypatch.setitem(module.BACKENDS, name, lambda q, *_, name=name: used.append(name) or q)
    q, k, v, valid = inputs(0, 1, 1, 2, 6, 4)
    attention(q, k, v, valid)
    attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), valid)
    with torch.autocast("cpu", torch.bfloat16):
        attention(q, k, v, valid)
    assert used == ["sdpa", "math", "math"]


def test_an_unknown_backend_is_told():
    with pytest.raises(UserError, match="unknown attention backend 'spda': did you mean 'sdpa'"):
        attention(*inputs(0, 1, 1, 1, 1, 1), "spda")


def test_xformers_asked_for_by_name_says_where_it_cannot_run():
    with pytest.raises(UserError, match=r"attention backend 'xformers' .*"):
        attention(*inputs(0, 1, 1, 2, 3, 4), "xformers")
