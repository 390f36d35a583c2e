"""Attention: one function, one switch.

Letters beyond the usual: H heads, d channels per head, Q queries, K keys.
"""

import functools
import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import UserError, unknown
from .registry import ATTENTIONS

BACKENDS: dict[str, Callable[..., Tensor]] = ATTENTIONS.module_dict  # one lookup, which compiled code understands


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    valid: Tensor | None = None,
    backend: str = "auto",
    dropout: float = 0.0,
) -> Tensor:
    """Softmax attention ``softmax(q k^T / sqrt(d)) v``.

    Args:
        q: Queries ``[B, H, Q, d]``.
        k: Keys ``[B, H, K, d]``.
        v: Values ``[B, H, K, d]``.
        valid: True where a key may be looked at ``[B, K]``; None for all.
        backend: ``math`` (two matrix products), ``sdpa`` (PyTorch's kernels), ``xformers`` (memory-efficient
            attention, GPU only), ``auto``, which picks one by device and size, or one of your own, registered in
            ``ATTENTIONS``: a function of q, k, v, a bias ``[B, 1, 1, K]`` or None, and the dropped share.
        dropout: Share of attention weights dropped, in [0, 1).

    Returns:
        ``[B, H, Q, d]``.

    Raises:
        UserError: The backend is unknown, or ``xformers`` was asked for by name and can't run here.
    """
    check_backend(backend)
    backend = _choose(q) if backend == "auto" else backend
    bias = None if valid is None else torch.zeros_like(valid, dtype=q.dtype).masked_fill(~valid, -torch.inf)
    return BACKENDS[backend](q, k, v, None if bias is None else bias[:, None, None], dropout)


def check_backend(name: str) -> None:
    """Raise a UserError for a back end that is not there."""
    if name != "auto" and name not in BACKENDS:
        raise unknown("attention backend", name, ["auto", *BACKENDS])


@ATTENTIONS.register_module(name="math")
def _math(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, dropout: float) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    weights = (scores if bias is None else scores + bias).softmax(-1)
    return (F.dropout(weights, dropout) if dropout else weights) @ v


@ATTENTIONS.register_module(name="sdpa")
def _sdpa(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, dropout: float) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, bias, dropout)


@ATTENTIONS.register_module(name="xformers")
def _xformers(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, dropout: float) -> Tensor:
    try:
        from xformers.ops import memory_efficient_attention
    except ImportError as error:
        raise UserError("attention backend 'xformers' isn't installed: pip install xformers") from error
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # xformers lays out [B, Q, H, d]
    if bias is not None:
        bias = _aligned(bias, q.shape[2], q.shape[1])
    try:
        return memory_efficient_attention(q, k, v, bias, dropout).transpose(1, 2)
    except NotImplementedError as error:
        raise UserError(
            f"attention backend 'xformers' can't take {q.dtype} on {q.device}; use 'auto' or 'sdpa'"
        ) from error


def _aligned(bias: Tensor, heads: int, queries: int) -> Tensor:
    """The bias ``[B, 1, 1, K]`` as ``[B, H, Q, K]``, with rows padded in memory to multiples of 8, as xformers asks."""
    batch, keys = bias.shape[0], bias.shape[-1]
    padded = bias.new_zeros(batch, heads, queries, -(-keys // 8) * 8)
    padded[..., :keys] = bias
    return padded[..., :keys]


def _choose(q: Tensor) -> str:
    device = q.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if autocast else q.dtype
    if device == "cpu" and dtype.itemsize < 4:
        return "math"  # PyTorch 2.14's kernel took 2.5 to 7 times as long, forward and backward, at 12 to 260 keys
    # On a CPU in float32 SDPA took 0.4 to 1.0 of the plain products' time at 20 to 1,024 keys (jepa-t benchmark speed).
    if device != "cuda" or torch.compiler.is_compiling():
        return "sdpa"
    return _gpu_backend(q.device, dtype, q.shape[-1])


@functools.cache
def _gpu_backend(device: torch.device, dtype: torch.dtype, channels: int) -> str:
    """xformers if its operator runs forward and backward on such inputs, else SDPA; says once which."""
    choice, reason = "sdpa", ""
    try:
        with torch.enable_grad():
            trial = torch.zeros(1, 1, 8, channels, device=device, dtype=dtype, requires_grad=True)
            _xformers(trial, trial, trial, torch.zeros(1, 1, 1, 8, device=device, dtype=dtype), 0.0).sum().backward()
        choice = "xformers"
    except (UserError, RuntimeError, OSError) as error:
        reason = f" ({str(error).splitlines()[0]})"
    logging.getLogger("jepa_t").info("attention on %s, %s: %s%s", device, dtype, choice, reason)
    return choice
