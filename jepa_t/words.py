"""Word maps: where in the caption each image token looked when it was drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from .contracts import TextTokenizer, Worded
from .errors import UserError, check_index, unknown
from .fusion import NO_ATTENTION
from .network import Network
from .sheets import contact_sheet, enlarge, heat_map
from .structures import Between, Caption, Split


@dataclass(frozen=True)
class WordMap:
    """Of one image, how its tokens shared their attention among the words of the caption, at each sampling step.

    It is the attention of the trained fusions, the mean of their heads, and where several attend, of these. What
    falls to the start and the end of a text, which some text encoders add, belongs to no word. The text tokens are
    what a text encoder makes of the caption, so that one of them may tell of its neighbours too.

    Attributes:
        words: W of them, in order.
        shares: In [0, 1]; NaN where a step didn't ask for a token ``[S, N, W]``.
        grid: Rows and columns of tokens.

    Examples:
        >>> found = WordMap(["red", "fox"], torch.tensor([[[0.9, 0.1], [0.2, 0.8]]]), grid=(1, 2))
        >>> found.of("fox")
        tensor([[0.1000, 0.8000]])
    """

    words: list[str]
    shares: Tensor = field(repr=False)
    grid: tuple[int, int] = field(repr=False)

    @property
    def drawn(self) -> Tensor:
        """The shares of each token at the last step that asked for it, which drew it; NaN if none did ``[N, W]``."""
        last = torch.full_like(self.shares[0], torch.nan) if len(self.shares) else self.shares.new_empty(0)
        for step in self.shares:
            last = torch.where(step.isnan(), last, step)
        return last

    def of(self, word: str | int) -> Tensor:
        """The map of a word ``[h, w]``: its shares where each token was drawn.

        Args:
            word: It, wherever it stands, or its number.

        Raises:
            UserError: The caption doesn't have it.
        """
        if isinstance(word, str) and word not in self.words:
            raise unknown("word of the caption", word, self.words)
        if isinstance(word, str):
            numbers = [number for number, one in enumerate(self.words) if one == word]
        else:
            numbers = [check_index("the number of the word", word, len(self.words))]
        return self.drawn[:, numbers].sum(1).unflatten(0, self.grid)

    def sheet(self, image: Image.Image) -> Image.Image:
        """The image, and beside it the map of each word, red where it was looked at."""
        view = enlarge(image)
        maps = [heat_map(view, self.of(number)) for number in range(len(self.words))]
        return contact_sheet([view, *maps], ["", *self.words], columns=len(maps) + 1)


def check_words(network: Network, captions: Sequence[Caption], regions: bool = False) -> None:
    """See that a model's word maps can be made of captions.

    Args:
        network: What draws.
        captions: Of the images.
        regions: Whether parts of them have captions of their own.

    Raises:
        UserError: No fusion attends, its text tokenizer can't tell the words apart, or an image has several captions.
    """
    if regions:
        raise UserError("word maps are of one caption, and regions have several; ask for one of the two")
    if not network.fusion.attends:
        raise UserError(NO_ATTENTION)
    for caption in captions:
        if isinstance(caption, Between):
            raise UserError("word maps are of one caption; there is none between two")
        words_of(network.text_tokenizer, caption)


def words_of(tokenizer: TextTokenizer, caption: str) -> list[tuple[str, range]]:
    """The words of a caption, with their text tokens.

    Raises:
        UserError: The tokenizer can't tell them.
    """
    if not isinstance(tokenizer, Worded):
        raise UserError(f"word maps need a text tokenizer that tells words apart; {type(tokenizer).__name__} doesn't")
    return tokenizer.word_spans(caption)


def word_maps(
    attended: Sequence[tuple[Split, Tensor]], captions: Sequence[str], tokenizer: TextTokenizer, grid: tuple[int, int]
) -> list[WordMap]:
    """The word maps of B captions.

    Args:
        attended: For each sampling step what was asked, and how those tokens shared their attention ``[B, K, L]``.
        captions: B of them.
        tokenizer: Which reads them.
        grid: Rows and columns of tokens.
    """
    steps = []
    for split, shares in attended:
        step = shares.new_full((*split.order.shape, shares.shape[2]), torch.nan)  # [B, N, L]
        steps.append(step.scatter(1, split.asked[..., None].expand_as(shares), shares))
    tokens = torch.stack(steps, 1).cpu()  # [B, S, N, L]
    maps = []
    for one, caption in zip(tokens, captions, strict=True):
        words = words_of(tokenizer, caption)
        shares = torch.stack([one[..., list(places)].sum(-1) for _, places in words], -1)
        maps.append(WordMap([word for word, _ in words], shares, grid))
    return maps
