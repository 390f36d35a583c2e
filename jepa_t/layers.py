"""What the Transformers are made of. Weights are initialised, and tagged for the optimizer, where they are made."""

import zlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import attention, check_backend
from .errors import UserError, check_depth, check_share

EPS = 1e-6  # of every norm


def linear(inputs: int, outputs: int, zero: bool = False) -> nn.Linear:
    """A linear layer with Xavier weights and bias 0, or all zero: a branch that at first adds nothing."""
    layer = nn.Linear(inputs, outputs)
    if zero:
        nn.init.zeros_(layer.weight)
    else:
        nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def table(*shape: int) -> nn.Parameter:
    """Learned vectors (positions, registers, words) of std 1, without weight decay.

    Inputs are normalised to std 1 too, so positions carry from the first step; at the usual 0.02 a small model
    reads its caption as a bag of words for thousands of steps.
    """
    parameter = nn.Parameter(torch.randn(*shape))
    parameter.no_decay = True  # type: ignore[attr-defined]  # read by the optimizer's groups
    return parameter


def seeded(name: str, make: Callable[[], Any]) -> Any:
    """Build a part from randomness of its own, so that another part more or less doesn't change its weights."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(torch.initial_seed() ^ zlib.crc32(name.encode()))  # not those of GPUs
        return make()


class Attention(nn.Module):
    """Multi-head attention with RMS-normalised queries and keys.

    Of the norms' gains only the product of the query's and the key's reaches a score, so there is one.

    Args:
        width: D, of the queries and the output.
        heads: H; must divide D.
        source_width: Width of the keys' and values' source; by default D.
        dropout: Dropped share of attention weights and of the output.
        backend: As in :func:`~jepa_t.attention.attention`.
        zero: Start with an output of zero.

    Raises:
        UserError: ``heads`` doesn't divide ``width``, or ``dropout`` is no share.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        source_width: int | None = None,
        dropout: float = 0.0,
        backend: str = "auto",
        zero: bool = False,
    ) -> None:
        super().__init__()
        check_backend(backend)
        if heads < 1 or width % heads:
            raise UserError(f"heads={heads} doesn't divide the width {width}; choose one that does")
        self.heads, self.dropout, self.backend = heads, check_share("dropout", dropout), backend
        self.q = linear(width, width)
        self.kv = linear(source_width or width, 2 * width)
        self.gain = nn.Parameter(torch.ones(width // heads))
        self.proj = linear(width, width, zero)

    def forward(self, x: Tensor, source: Tensor, valid: Tensor | None = None) -> Tensor:
        """Queries from ``x [B, Q, D]``, keys and values from ``source [B, K, E]``: ``[B, Q, D]``."""
        q, k, v = self._heads(x, source)
        dropout = self.dropout if self.training else 0.0
        x = attention(q, k, v, valid, self.backend, dropout).transpose(1, 2).flatten(2)
        return F.dropout(self.proj(x), dropout) if dropout else self.proj(x)

    def shares(self, x: Tensor, source: Tensor, valid: Tensor | None = None) -> Tensor:
        """How each query shares its attention among the keys, the mean of the heads ``[B, Q, K]``; each row sums to 1.

        Attention is linear in the values, so those of a unit matrix give its weights. It is computed in plain products,
        since kernels for GPUs take values of some widths only.
        """
        q, k, _ = self._heads(x, source)
        unit = torch.eye(k.shape[2], dtype=q.dtype, device=q.device).expand(*k.shape[:2], -1, -1)
        return attention(q, k, unit, valid, "math").float().mean(1)

    def _heads(self, x: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values ``[B, H, ., d]``."""
        q = self.q(x).unflatten(-1, (self.heads, -1))  # [B, Q, H, d]
        k, v = self.kv(source).unflatten(-1, (2, self.heads, -1)).unbind(2)  # [B, K, H, d]
        q, k = (F.rms_norm(part, self.gain.shape, eps=EPS) for part in (q, k))
        return (q * self.gain).to(v.dtype).transpose(1, 2), k.to(v.dtype).transpose(1, 2), v.transpose(1, 2)


class Block(nn.Module):
    """A pre-norm Transformer block: self-attention, then an MLP of four times the width.

    Args:
        width: D, channels of the network's features.
        heads: H, attention heads.
        dropout: In attention and after both branches.
        backend: As in :func:`~jepa_t.attention.attention`.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0, backend: str = "auto") -> None:
        super().__init__()
        from timm.layers import Mlp  # here, since it brings torchvision

        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = Attention(width, heads, dropout=dropout, backend=backend)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width, 4 * width, drop=dropout)
        for name, parameter in self.mlp.named_parameters():
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.xavier_uniform_(parameter)

    def forward(self, x: Tensor, valid: Tensor | None = None, wanted: Tensor | None = None) -> Tensor:
        """Transform tokens.

        Args:
            x: ``[B, N, D]``.
            valid: True where a token may be looked at ``[B, N]``; None for all.
            wanted: Those of the tokens that are wanted ``[B, K, D]``; None for all. All are looked at, only these
                are computed. Tensors, not places: compiled code would be made again for every place.

        Returns:
            ``[B, N, D]``, or ``[B, K, D]`` of the wanted ones.
        """
        source = self.norm1(x)
        if wanted is None:
            x = x + self.attn(source, source, valid)
        else:
            x = wanted + self.attn(self.norm1(wanted), source, valid)
        return x + self.mlp(self.norm2(x))


class Blocks(nn.ModuleList):
    """A stack of blocks, optionally recomputed in the backward pass instead of kept.

    Args:
        depth: How many blocks there are.
        width: D, channels of the network's features.
        heads: H, attention heads.
        dropout: As in :class:`Block`.
        backend: As in :func:`~jepa_t.attention.attention`.
        checkpointing: Keep only each block's input for the backward pass: less memory, a third more time.
        least: How many there must be.

    Raises:
        UserError: ``depth`` is below ``least``, or beyond all memory.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        heads: int,
        dropout: float = 0.0,
        backend: str = "auto",
        checkpointing: bool = False,
        least: int = 1,
    ) -> None:
        check_depth("depth", depth, least)
        super().__init__(Block(width, heads, dropout, backend) for _ in range(depth))
        self.checkpointing = checkpointing

    def run(self, index: int, x: Tensor, valid: Tensor | None = None, rows: slice | None = None) -> Tensor:
        """Apply block number ``index``, as :meth:`Block.forward`; ``rows`` are the places of those wanted."""
        wanted = None if rows is None else x[:, rows]
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(self[index], x, valid, wanted, use_reentrant=False)
        return self[index](x, valid, wanted)
