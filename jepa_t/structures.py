"""What flows between the stations. Shapes are stated here, once.

Letters: B batch, N image tokens, V visible, M masked, K asked (any subset of the masked), L text tokens,
C token channels, D width, E text width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from .errors import check_share

End = TypeVar("End")


@dataclass(frozen=True)
class Between(Generic[End]):
    """A point on the way between two captions, or between two seeds.

    Attributes:
        first: Where the way begins.
        second: Where it ends.
        share: How far along it the point lies, in [0, 1].
    """

    first: End
    second: End
    share: float

    def __post_init__(self) -> None:
        check_share("Between share", self.share)

    def __str__(self) -> str:
        """Such as ``a fox > a cat, 0.25``."""
        return f"{self.first} > {self.second}, {self.share:g}"


def ends(one: End | Between[End]) -> tuple[End, ...]:
    """Both ends of what lies between two, or the one itself."""
    return (one.first, one.second) if isinstance(one, Between) else (one,)


Caption = str | Between[str]
Seed = int | Between[int]


@dataclass(frozen=True)
class Text:
    """A batch of encoded captions.

    Attributes:
        tokens: Token features ``[B, L, E]``.
        valid: True where a token belongs to the caption, False on padding ``[B, L]``; at least one per row.
        pooled: One vector for the whole caption ``[B, E]``.

    Examples:
        >>> text = Text(torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool), torch.randn(2, 8))
        >>> len(text), len(text + text)
        (2, 4)
    """

    tokens: Tensor
    valid: Tensor
    pooled: Tensor

    def where(self, keep: Tensor, other: Text) -> Text:
        """This text where ``keep [B]`` is True, ``other`` elsewhere (the caption drop)."""
        return Text(
            torch.where(keep[:, None, None], self.tokens, other.tokens),
            torch.where(keep[:, None], self.valid, other.valid),
            torch.where(keep[:, None], self.pooled, other.pooled),
        )

    def lerp(self, other: Text, share: Tensor) -> Text:
        """The way from this text to ``other``, row by row: a share of 0 is this one, 1 the other ``[B]``.

        On the way the tokens of both are valid; where only one has a token, it grows from zero or falls to it.
        """
        mine, its = (text.tokens.where(text.valid[..., None], 0.0) for text in (self, other))
        valid = (self.valid & (share < 1)[:, None]) | (other.valid & (share > 0)[:, None])
        pooled = torch.lerp(self.pooled, other.pooled, share[:, None].to(self.pooled.dtype))
        return Text(torch.lerp(mine, its, share[:, None, None].to(mine.dtype)), valid, pooled)

    def parted(self, count: int) -> tuple[Text, Text]:
        """The first captions, and the others."""
        parts = [(one[:count], one[count:]) for one in (self.tokens, self.valid, self.pooled)]
        return Text(*(first for first, _ in parts)), Text(*(rest for _, rest in parts))

    def __len__(self) -> int:
        """B, how many captions."""
        return len(self.pooled)

    def __add__(self, other: Text) -> Text:
        """Both batches, one after the other: ``[B1 + B2, ...]``."""
        return Text(
            torch.cat([self.tokens, other.tokens]),
            torch.cat([self.valid, other.valid]),
            torch.cat([self.pooled, other.pooled]),
        )


@dataclass(frozen=True)
class Regional:
    """Images of which each has several captions, and each token follows one of them.

    Attributes:
        text: All captions but the first: each image's second, then each one's third, and so on.
        follows: Which of its image's captions each token follows; 0 is the first ``[B, N]``, int64.
    """

    text: Text
    follows: Tensor

    @property
    def count(self) -> int:
        """How many further captions each image has."""
        return len(self.text) // len(self.follows)

    def chosen(self, branches: Tensor, split: Split) -> Tensor:
        """Of each asked token what is said under its own caption, before what further branches say.

        Args:
            branches: Under each image's first caption, its further ones, and others such as the null text
                ``[(1 + count + others) B, K, D]``.
            split: Which tokens are asked for.

        Returns:
            ``[(1 + others) B, K, D]``.
        """
        said = branches.unflatten(0, (-1, len(self.follows)))
        follows = self.follows.gather(1, split.asked)[None, :, :, None].expand(1, -1, -1, branches.shape[-1])
        return torch.cat([said.gather(0, follows), said[1 + self.count :]]).flatten(0, 1)


@dataclass(frozen=True)
class Split:
    """An order over the image tokens, cut twice: visible | asked | not asked yet.

    The cuts are host integers, so every shape is known without looking at the device.

    Attributes:
        order: A permutation of ``0..N-1`` per image ``[B, N]``, int64.
        visible_count: V, how many tokens at the front of the order are visible, ``0 <= V < N``.
        asked_count: K, how many of the masked ones behind them are asked for, ``1 <= K <= N - V``.

    Examples:
        >>> split = Split(torch.tensor([[2, 0, 3, 1]]), visible_count=1, asked_count=2)
        >>> split.visible.tolist(), split.asked.tolist(), split.masked.tolist()
        ([[2]], [[0, 3]], [[0, 3, 1]])
    """

    order: Tensor
    visible_count: int
    asked_count: int

    @property
    def visible(self) -> Tensor:
        """Positions of the visible tokens ``[B, V]``."""
        return self.order[:, : self.visible_count]

    @property
    def masked(self) -> Tensor:
        """Positions of the masked tokens ``[B, M]``, the asked ones first."""
        return self.order[:, self.visible_count :]

    @property
    def asked(self) -> Tensor:
        """Positions whose features are wanted ``[B, K]``."""
        return self.order[:, self.visible_count : self.visible_count + self.asked_count]

    def first(self, count: int) -> Split:
        """The split of the first images alone."""
        return Split(self.order[:count], self.visible_count, self.asked_count)

    def repeat(self, times: int) -> Split:
        """The same split for a batch laid ``times`` behind itself."""
        return Split(self.order.repeat(times, 1), self.visible_count, self.asked_count)


@dataclass(frozen=True)
class Given:
    """An image that is partly there: tokens that stay, and those that are drawn anew.

    Attributes:
        tokens: ``[B, N, C]``.
        masked: True where a token is drawn anew, at as many in each row ``[B, N]``.
        masked_count: M, how many, at least 1; a host integer, so every shape is known without looking at the device.
    """

    tokens: Tensor
    masked: Tensor
    masked_count: int

    def first(self, order: Tensor) -> Tensor:
        """The order ``[B, N]`` with the tokens that stay before all others; nothing else changes places."""
        return order.gather(1, self.masked.gather(1, order).to(torch.uint8).argsort(dim=1, stable=True))


@dataclass(frozen=True)
class Revealed:
    """An image on its way: what a sampler has after a sampling step.

    Attributes:
        tokens: ``[B, N, C]``; those that are still masked mean nothing.
        order: A permutation of ``0..N-1``, those that are drawn, or were given, first ``[B, N]``.
        before: How many at its front were drawn before the step.
        after: How many are drawn after it.
        number: Of the step, from 1.
        steps: How many there are.
    """

    tokens: Tensor
    order: Tensor
    before: int
    after: int
    number: int
    steps: int

    @property
    def revealed(self) -> Tensor:
        """True at the tokens that this step has drawn ``[B, N]``."""
        return self._at(self.order[:, self.before : self.after])

    @property
    def masked(self) -> Tensor:
        """True at the tokens that are still to be drawn ``[B, N]``."""
        return self._at(self.order[:, self.after :])

    def _at(self, positions: Tensor) -> Tensor:
        return torch.zeros_like(self.order, dtype=torch.bool).scatter(1, positions, True)


@dataclass(frozen=True)
class Prediction:
    """What the network says about the asked positions.

    Attributes:
        features: The predictor's output after the ``features`` fusion ``[B, K, D]``.
        condition: ``features`` after the ``objective`` fusion: what the generative objective sees ``[B, K, D]``.
        attention: How each asked token shares its attention among the text tokens, the mean of all fusions that attend
            ``[B, K, L]``; None where it wasn't asked for.

    Examples:
        >>> z = torch.randn(2, 3, 16)
        >>> Prediction(features=z, condition=z).attention is None
        True
    """

    features: Tensor
    condition: Tensor
    attention: Tensor | None = None


@dataclass(frozen=True)
class Target:
    """What an objective compares a prediction with.

    Attributes:
        tokens: Clean image tokens at the asked positions ``[B, K, C]``.
        features: The target encoder's output there ``[B, K, D]``, without gradient; None when no objective reads it.
        ids: The codes that the tokens are ``[B, K]``, int64; None when no objective reads them.
        null: What the network says of them with the null text, without gradient: the condition of the first images,
            about half of them, ``[B', K, D]``; None when no objective reads it.

    Examples:
        >>> target = Target(tokens=torch.zeros(2, 3, 4), ids=torch.zeros(2, 3, dtype=torch.int64))
        >>> target.features is None
        True
    """

    tokens: Tensor
    features: Tensor | None = None
    ids: Tensor | None = None
    null: Tensor | None = None


@dataclass(frozen=True)
class Drawn:
    """What a generative objective draws at the asked positions: tokens, or the ids of codes.

    Attributes:
        tokens: Image tokens ``[B, K, C]``; None where ids are given.
        ids: Codes of a discrete image tokenizer ``[B, K]``, int64.
        confidence: How sure the objective is of each ``[B, K]``, as a log-probability; None when it can't say.
    """

    tokens: Tensor | None = None
    ids: Tensor | None = None
    confidence: Tensor | None = None
