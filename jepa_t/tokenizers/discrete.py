"""What discrete image tokenizers share: ids, their standardised codes, and the way back from any vector.

K is the size of a codebook, as in the papers on them; where tokens are asked for, ``[B, K, D]``, it is their number.
"""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from ..contracts import DiscreteImageTokenizer, Fitted
from ..errors import UserError
from .maps import check_images, grid_of, in_float32, to_maps, to_tokens

DISTANCES = 2**25  # how many are held at once
MEASURED = 4096  # images that are enough to measure how often each code is used
PIXELS = 2**21  # how many are encoded at once for that


def nearest(x: Tensor, codes: Tensor) -> Tensor:
    """The row of ``codes [K, C]`` nearest to each ``x [..., C]``: ids ``[...]``, of equal codes the first.

    By products in float64: in float32 they would confuse codes that lie close to each other, as unused ones do. The
    best two are compared by differences, which are exact.
    """
    wide = torch.float32 if x.device.type == "mps" else torch.float64  # which mps hasn't
    codes, rows = codes.to(wide), max(1, DISTANCES // len(codes))
    squares = codes.square().sum(-1)
    parts = [_nearest(part, codes, squares) for part in x.flatten(0, -2).to(wide).split(rows)]
    return torch.cat(parts).view(x.shape[:-1])


def _nearest(x: Tensor, codes: Tensor, squares: Tensor) -> Tensor:
    distances = torch.addmm(squares, x, codes.T, alpha=-2)  # up to what they share
    first = distances.argmin(-1, keepdim=True)
    second = distances.scatter_(-1, first, torch.inf).argmin(-1, keepdim=True)
    best = torch.cat([torch.minimum(first, second), torch.maximum(first, second)], -1)
    exact = (x[:, None] - F.embedding(best, codes)).square().sum(-1)
    return best.gather(-1, exact.argmin(-1, keepdim=True)).squeeze(-1)


def usage(ids: Tensor, codebook_size: int) -> tuple[Tensor, Tensor]:
    """The share of the codes that occur among ``ids``, and the perplexity of how often each does."""
    counts = _counts(ids, codebook_size)
    shares = counts / counts.sum()
    return (counts > 0).float().mean(), torch.special.entr(shares).sum().exp()


def _counts(ids: Tensor, codebook_size: int) -> Tensor:
    ids = ids.flatten()
    return torch.zeros(codebook_size, device=ids.device).scatter_add_(0, ids, torch.ones_like(ids, dtype=torch.float32))


class DiscreteTokenizer(DiscreteImageTokenizer, Fitted):
    """Tokens are codes of a codebook, standardised by how often the training images use them.

    A kind of it gives ``codebook [K, c]``, ``find_ids(images) -> [B, h, w]`` and
    ``decode_codes(codes [B, c, h, w]) -> images``.

    Args:
        size: Height and width of the images in pixels.
        stride: Pixels that a code covers, in height and in width.
        code_channels: c, of a code.
        codebook_size: K, how many codes there are.
        patch: Side of the square of codes that make one token, of ``c patch^2`` channels. Above 1 a token is no
            single code, so there are no ids, and :meth:`decode` snaps each code of it.

    Attributes:
        grid: Rows and columns of tokens.
        stride: Pixels that a token covers, in height and in width.
        channels: C, of a token.
        codebook_size: K, how many codes there are.
        codes_per_token: ``patch^2``.

    Raises:
        UserError: A number doesn't fit.
    """

    mean: Tensor
    std: Tensor
    fitted: Tensor

    def __init__(
        self, size: tuple[int, int], stride: int, code_channels: int, codebook_size: int, patch: int = 1
    ) -> None:
        super().__init__()
        self.grid = grid_of(type(self).__name__, size, stride * patch)
        self.stride, self.channels, self.patch = stride * patch, code_channels * patch**2, patch
        self.codebook_size, self.codes_per_token = codebook_size, patch**2
        self.register_buffer("mean", torch.zeros(code_channels))
        self.register_buffer("std", torch.ones(code_channels))
        self.register_buffer("fitted", torch.tensor(False))

    @property
    @abstractmethod
    def codebook(self) -> Tensor:
        """The codes as the decoder reads them ``[K, c]``."""

    @abstractmethod
    def find_ids(self, images: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` to ids ``[B, h, w]``."""

    @abstractmethod
    def decode_codes(self, codes: Tensor) -> Tensor:
        """Codes ``[B, c, h, w]`` to images ``[B, 3, H, W]``."""

    @property
    def codes(self) -> Tensor:
        """The codebook as tokens hold it: zero mean, unit variance ``[K, c]``."""
        return (self.codebook - self.mean) / self.std

    def nearest_ids(self, x: Tensor) -> Tensor:
        """The ids ``[...]`` of the codes nearest to ``x [..., c]``, standardised as :attr:`codes` are."""
        return nearest(x, self.codes)

    @in_float32
    def ids(self, images: Tensor) -> Tensor:
        """The codes of images ``[B, 3, H, W]`` in [-1, 1]: ids ``[B, N]`` in [0, K), row by row.

        Raises:
            UserError: The images have another size, or ``patch`` is above 1.
        """
        self._one_code_each()
        check_images(images, self.grid, self.stride)
        return self.find_ids(images).flatten(1)

    @in_float32
    def embed(self, ids: Tensor) -> Tensor:
        """Ids ``[...]`` as tokens ``[..., C]``.

        Raises:
            UserError: ``patch`` is above 1.
        """
        self._one_code_each()
        return F.embedding(ids, self.codes)

    @in_float32
    def snap(self, tokens: Tensor) -> Tensor:
        """The ids ``[...]`` of the codes nearest to tokens ``[..., C]``; undoes :meth:`embed`.

        Raises:
            UserError: ``patch`` is above 1.
        """
        self._one_code_each()
        return self.nearest_ids(tokens)

    @in_float32
    def quantize(self, tokens: Tensor) -> Tensor:
        """Tokens ``[..., C]`` with each code of them taken to the nearest of the codebook."""
        codes = tokens.unflatten(-1, (-1, self.patch**2)).movedim(-1, -2)  # [..., p^2, c]
        return F.embedding(self.nearest_ids(codes), self.codes).movedim(-1, -2).flatten(-2)

    @in_float32
    def encode(self, images: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` in [-1, 1] to tokens ``[B, N, C]``, row by row.

        Raises:
            UserError: The images have another size.
        """
        check_images(images, self.grid, self.stride)
        codes = F.embedding(self.find_ids(images), self.codes)  # [B, h, w, c]
        return to_tokens(codes.movedim(-1, 1), self.patch)

    @in_float32
    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens ``[B, N, C]``, wherever they lie, to images ``[B, 3, H, W]`` of the codes nearest to them."""
        maps = to_maps(tokens, self.grid, self.patch)
        return self.decode_codes(F.embedding(self.nearest_ids(maps.movedim(1, -1)), self.codebook).movedim(-1, 1))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Measure mean and deviation of the codes that images ``[N, 3, H, W]`` in [-1, 1] use.

        Raises:
            UserError: The images have another size.
        """
        check_images(images, self.grid, self.stride)
        codebook, some = self.codebook, images[:: -(-len(images) // MEASURED)]  # evenly spaced
        at_once = max(1, PIXELS // some[0, 0].numel())
        parts = [self.find_ids(part.to(codebook.device)) for part in some.split(at_once)]
        counts = torch.stack([_counts(part, self.codebook_size) for part in parts]).sum(0)  # whole numbers: exact
        shares = counts / sum(part.numel() for part in parts)
        mean = shares @ codebook
        variance = shares @ (codebook - mean).square()
        self.mean.copy_(mean)
        self.std.copy_(variance.clamp(min=1e-6 * variance.max().clamp(min=1e-6)).sqrt())
        self.fitted.fill_(True)

    def _one_code_each(self) -> None:
        if self.patch > 1:
            raise UserError(f"{type(self).__name__} patch={self.patch}: such a token has no id; ids need patch=1")
