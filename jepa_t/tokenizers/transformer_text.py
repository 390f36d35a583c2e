"""Captions to text tokens with a small Transformer that trains along: no download."""

import functools
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Container, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import Fitted, TextTokenizer, Vocabulary, Worded
from ..errors import UserError
from ..layers import EPS, Blocks, table
from ..registry import TOKENIZERS
from ..structures import Text
from .captions import check_count, checked

LOST = 0.1  # share of what captions say that a vocabulary may leave out
PADDING, NULL, UNKNOWN = 0, 1, 2  # rows of the word table before the first word's
FIRST_WORD = 3
REMEMBERED = 2**17  # captions whose ids are kept, at some 400 bytes each
# A word with a hyphen, where CLIP's tokenizer parts words too: else the parts could be more pairs than the caption is.
_HYPHENATED = re.compile(r"(?<![\w'’])([^\W_]+(?:-[^\W_]+)+)(?!\w)")
_WHOLE = 2**16  # from here on ids are of whole words; CLIP's are smaller


def _forget(tokenizer: "TransformerText", _keys: object) -> None:
    """A new vocabulary reads captions otherwise; a function of the module, so that it can be pickled."""
    tokenizer._cache.clear()
    tokenizer._rows = None


@functools.cache
def byte_pairs():
    """CLIP's byte-pair tokenizer, from open_clip."""
    from open_clip.tokenizer import SimpleTokenizer  # here, since open_clip brings torchvision

    return SimpleTokenizer()


def pairs_of(caption: str, length: int) -> list[int]:
    """The byte pairs of a caption.

    Raises:
        UserError: It is no text, empty, or has more than ``length``.
    """
    pairs = byte_pairs().encode(checked(caption))
    check_count(caption, len(pairs), length)
    return pairs


def _whole(word: str) -> int:
    """The id of a word with a hyphen, the same on all machines."""
    return _WHOLE + int.from_bytes(hashlib.blake2b(word.lower().encode(), digest_size=6).digest(), "big")


def _rows(clip_ids: Sequence[int]) -> dict[int, int]:
    return {pair: FIRST_WORD + row for row, pair in enumerate(clip_ids) if pair >= 0}


@TOKENIZERS.register_module()
class TransformerText(TextTokenizer, Fitted, Vocabulary, Worded):
    """CLIP's byte-pair ids, of which only those that occur in training have a learned vector, and a Transformer.

    Args:
        width: E.
        depth: Blocks; 0 gives the words and their positions as they are.
        heads: Attention heads.
        length: L; a caption of more byte pairs is refused.
        vocabulary: How many different byte pairs can be learned; those beyond, the rarest, are read as unknown, and
            may be a tenth of what is said.
        dropout: In attention and after both branches of a block.
        hyphenated: Whether a word with a hyphen that training shows has a vector of its own. Else "medium-dark" is read
            as "medium", "-" and "dark", so that "dark" means something that "medium-dark" means as well.

    Raises:
        UserError: A number doesn't fit.

    Examples:
        >>> tokenizer = TransformerText(width=8, heads=2, length=6)
        >>> tokenizer.fit(["a red three", "a blue five"])
        >>> tokenizer(["a red five"]).tokens.shape, tokenizer.unknown_words("a pink three")
        (torch.Size([1, 6, 8]), ['pink'])
    """

    clip_ids: Tensor

    def __init__(
        self,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        length: int = 16,
        vocabulary: int = 128,
        dropout: float = 0.0,
        hyphenated: bool = False,
    ) -> None:
        super().__init__()
        if length < 1 or vocabulary < 1:
            raise UserError(f"TransformerText length={length} vocabulary={vocabulary}; both must be at least 1")
        self.width, self.length, self.hyphenated = width, length, hyphenated
        self.register_buffer("clip_ids", torch.full((vocabulary,), -1))  # of each learned word CLIP's, or its own
        self.words = table(FIRST_WORD + vocabulary, width)
        self.positions = table(length, width)
        self.blocks = Blocks(depth, width, heads, dropout, least=0)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self._cache: dict[str, list[int]] = {}
        self._rows: dict[int, int] | None = None
        self.register_load_state_dict_post_hook(_forget)

    @property
    def fitted(self) -> bool:  # type: ignore[override]  # follows from the vocabulary
        """Whether the vocabulary has been chosen."""
        return bool((self.clip_ids >= 0).any())

    def fit(self, captions: Sequence[str]) -> None:
        """Choose the vocabulary: the most frequent byte pairs of the captions.

        Raises:
            UserError: A caption can't be read, or the vocabulary is too small for more than a tenth of what they say.
        """
        counts: Counter[int] = Counter()
        for caption, times in Counter(captions).items():
            for pair in self._units(checked(caption)):
                counts[pair] += times
        kept = sorted(counts, key=lambda pair: (-counts[pair], pair))[: len(self.clip_ids)]
        lost = 1 - sum(counts[pair] for pair in kept) / max(sum(counts.values()), 1)
        if lost:
            told = (
                f"text_tokenizer.vocabulary={len(kept)} is too small: the captions have {len(counts)} different "
                f"byte pairs, and {lost:.1%} of what they say would be read as unknown; {len(counts)} keeps all"
            )
            if lost > LOST:
                raise UserError(told)
            logging.getLogger("jepa_t").warning(told)
        self.clip_ids.fill_(-1)
        self.clip_ids[: len(kept)] = torch.tensor(kept, device=self.clip_ids.device)
        self._cache.clear()
        self._rows = _rows(kept)

    def ids(self, captions: Sequence[str]) -> Tensor:
        """Rows of the word table ``[B, L]``, int64, on the CPU.

        Raises:
            UserError: A caption is no text, empty or too long.
        """
        if len(self._cache) > REMEMBERED:
            self._cache.clear()
        missing = [caption for caption in captions if not isinstance(caption, str) or caption not in self._cache]
        if missing:
            rows = self._known()
            for caption in missing:
                units = pairs_of(caption, self.length)
                if self.hyphenated:
                    units = self._units(caption, rows)  # of whole words, so no more of them
                ids = [rows.get(unit, UNKNOWN) for unit in units]
                self._cache[caption] = ids + [PADDING] * (self.length - len(ids))
        return torch.tensor([self._cache[caption] for caption in captions]).view(-1, self.length)

    def reader(self) -> Callable[[str], object]:
        """What refuses a caption that can't be read, by a `UserError`."""
        return partial(pairs_of, length=self.length)

    def unknown_words(self, caption: str) -> list[str]:
        """The words of a caption that have a part which training never showed, in order."""
        known = self._known()
        return [w for w in checked(caption).split() if not known.keys() >= set(self._units(w, known))]

    def word_spans(self, caption: str) -> list[tuple[str, range]]:
        """The words of a caption in order, each with the byte pairs that it is.

        Raises:
            UserError: They can't be told apart, since a part of the caption is read as something else.
        """
        words, start, known = [], 0, self._known()
        for word in checked(caption).split():
            count = len(self._units(word, known))
            words.append((word, range(start, start + count)))
            start += count
        if start != len(self._units(caption, known)):
            raise UserError(f"the caption {caption!r} is read otherwise than word by word; spell it plainly")
        return words

    def _known(self) -> dict[int, int]:
        """The row of each learned word, fetched from the device once: no step of a training waits for it."""
        if self._rows is None:
            self._rows = _rows(self.clip_ids.tolist())
        return self._rows

    def _units(self, caption: str, known: Container[int] | None = None) -> list[int]:
        """The ids of what has a vector each; a hyphenated word that isn't known is its byte pairs again."""
        units: list[int] = []
        for place, part in enumerate(_HYPHENATED.split(caption) if self.hyphenated else [caption]):
            if place % 2 and (known is None or _whole(part) in known):
                units.append(_whole(part))
            else:
                units += byte_pairs().encode(part)
        return units

    def null(self, batch: int) -> Text:
        """The learned null text, the unconditional caption: ``batch`` equal rows."""
        ids = F.pad(torch.full((1, 1), NULL, device=self.words.device), (0, self.length - 1))
        null = self._encode(ids)
        return Text(*(x.expand(batch, *x.shape[1:]) for x in (null.tokens, null.valid, null.pooled)))

    def forward(self, captions: Sequence[str]) -> Text:
        """Encode B captions: tokens ``[B, L, E]``, pooled ``[B, E]`` (their mean).

        Raises:
            UserError: As :meth:`ids`.
        """
        return self._encode(self.ids(captions).to(self.words.device, non_blocking=True))

    def _encode(self, ids: Tensor) -> Text:
        valid = ids != PADDING
        x = F.embedding(ids, self.words) + self.positions
        for index in range(len(self.blocks)):
            x = self.blocks.run(index, x, valid)
        x = self.norm(x)
        share = valid.to(x.dtype) / valid.sum(1, keepdim=True)
        return Text(x, valid, (share[:, None] @ x).squeeze(1))
