"""Captions of parts of an image: pairs of a caption and a mask as users give them, as a caption for each token."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .contracts import ImageTokenizer, TextTokenizer
from .editing import tokens_of
from .errors import UserError
from .structures import Between, Caption, Regional
from .tokenizers.encoding import read

if TYPE_CHECKING:
    from .model import JEPAT

FORM = 'give pairs, such as [("a red heart", mask)]'


@dataclass(frozen=True)
class Regions:
    """Which captions the tokens of each image follow.

    Attributes:
        captions: Of each image, those that any of its tokens follows, each once.
        follows: Which of them, of each token ``[B, N]``, int64, on the CPU.
    """

    captions: list[list[Caption]]
    follows: Tensor

    @classmethod
    def of(cls, regions: Any, captions: Sequence[Caption], model: "JEPAT") -> "Regions | None":
        """From what :meth:`Pipeline.__call__` takes; None if there are none.

        Args:
            regions: Pairs of a caption and a mask, of which later ones lie over earlier ones; or such pairs for each
                of the captions.
            captions: Of the tokens that lie in no region.
            model: Which draws.

        Raises:
            UserError: These are no pairs, or for another number of captions; a mask is of another size or kind, or
                nothing of its region is left; or the model reads no captions.
        """
        if regions is None:
            return None
        if not len(model.ema.fusion):
            raise UserError("the fusion of this model reads no text, so captions of regions would change nothing")
        tokenizer = model.image_tokenizer
        each = _each(regions, len(captions))
        found = [_laid_out(caption, pairs, tokenizer) for caption, pairs in zip(captions, each, strict=True)]
        follows = [which for _, which in found]
        grid = tokenizer.grid[0] * tokenizer.grid[1]
        stacked = torch.stack(follows) if follows else torch.zeros(0, grid, dtype=torch.int64)
        return cls([distinct for distinct, _ in found], stacked)

    def further(self, rows: Sequence[int], tokenizer: TextTokenizer, device: torch.device) -> Regional | None:
        """All captions but the first of some images that have as many; None if each has one alone."""
        rest = [self.captions[row][number] for number in range(1, len(self.captions[rows[0]])) for row in rows]
        if not rest:
            return None
        return Regional(read(tokenizer, rest), self.follows[list(rows)].to(device, non_blocking=True))


def _each(regions: Any, count: int) -> list[list[tuple[Caption, Any]]]:
    """Pairs for each caption, from pairs for all or for each."""
    given = _listed(regions)
    if all(_is_pair(one) for one in given):
        return [given] * count
    given = [_listed(one) for one in given]
    if any(not _is_pair(pair) for pairs in given for pair in pairs):
        raise UserError(f"regions holds something else than pairs of a caption and a mask; {FORM}")
    if len(given) != count:
        raise UserError(
            f"{count} captions and regions for {len(given)}; give pairs for all, or a list for each caption"
        )
    return given


def _listed(given: Any) -> list[Any]:
    if isinstance(given, (str, Tensor, Between, Mapping)) or not isinstance(given, Iterable):
        raise UserError(f"regions holds a {type(given).__name__}; {FORM}")
    return list(given)


def _is_pair(given: Any) -> bool:
    return isinstance(given, (tuple, list)) and len(given) == 2 and isinstance(given[0], (str, Between))


def _laid_out(
    caption: Caption, pairs: Sequence[tuple[Caption, Any]], tokenizer: ImageTokenizer
) -> tuple[list[Caption], Tensor]:
    """The captions that are followed by any token, and by each one which ``[N]``."""
    size = (tokenizer.grid[0] * tokenizer.stride, tokenizer.grid[1] * tokenizer.stride)
    layers = torch.zeros(tokenizer.grid[0] * tokenizer.grid[1], dtype=torch.int64)
    for number, (text, mask) in enumerate(pairs, 1):
        if isinstance(mask, Real):
            raise UserError(f"the mask of the region {str(text)!r} is {mask}; give one in pixels, white where it lies")
        layers[tokens_of(mask, size, tokenizer)] = number
    for number, (text, _) in enumerate(pairs, 1):
        if not bool((layers == number).any()):
            raise UserError(
                f"nothing of the region {str(text)!r} is left; give it a mask, and a place above the others"
            )
    if pairs and not bool((layers == 0).any()):
        logging.getLogger("jepa_t").warning("regions cover the whole image, so the caption %r isn't read", str(caption))
    said = [caption, *(text for text, _ in pairs)]
    followed = [said[number] for number in layers.tolist()]
    distinct = list(dict.fromkeys(followed))
    return distinct, torch.tensor([distinct.index(text) for text in followed])
