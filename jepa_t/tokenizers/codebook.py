"""What a discrete image tokenizer lends to an objective that thinks in ids."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from ..structures import Drawn
from .maps import precisely


@dataclass(frozen=True)
class Borrowed:
    """A method of a module that belongs to someone else: called in fp32, never registered or copied along.

    A copy of the borrower goes on with the same owner, or with the owner's copy where both were copied together.

    Args:
        owner: The module.
        name: Of its method.
    """

    owner: nn.Module
    name: str

    def __call__(self, x: Tensor) -> Tensor:
        """The method's result."""
        return precisely(getattr(self.owner, self.name))(x)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Borrowed":
        return Borrowed(memo.get(id(self.owner), self.owner), self.name)


@dataclass(frozen=True)
class Snapped:
    """An objective's ``draw``, with each drawn token taken to the nearest code before anything sees it.

    In training the visible tokens are codes; so they are while sampling, whatever a continuous objective draws.

    Args:
        draw: Of the objective.
        embed, snap: Of the tokenizer, as :func:`codebook` gives them.
    """

    draw: Callable[..., Drawn]
    embed: Borrowed
    snap: Borrowed

    def __call__(self, *args: Any, **options: Any) -> Drawn:
        """What ``draw`` draws, as codes."""
        drawn = self.draw(*args, **options)
        return replace(drawn, tokens=self.embed(self.snap(drawn.tokens)))

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.draw)  # the sampler reads there which options it has


def codebook(tokenizer: nn.Module) -> dict[str, Any]:
    """``codebook_size``, ``embed`` (ids ``[...]`` to tokens ``[..., C]``) and ``snap``, its inverse, which takes any
    tokens to the nearest code; nothing from a continuous tokenizer, or one that groups codes into tokens."""
    if not hasattr(tokenizer, "codebook_size") or getattr(tokenizer, "patch", 1) > 1:
        return {}
    borrowed = {name: Borrowed(tokenizer, name) for name in ("embed", "snap")}
    return {"codebook_size": tokenizer.codebook_size, **borrowed}
