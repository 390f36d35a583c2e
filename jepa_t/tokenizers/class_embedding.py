"""Class names instead of sentences: a learned vector per class, as class-conditional networks have it."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..contracts import TextTokenizer
from ..errors import UserError, check_integer, unknown
from ..layers import table
from ..registry import TOKENIZERS
from ..structures import Text
from .captions import check_count, checked, one_token

AROUND = ".,;:!?\"'()[]"  # punctuation that may stand around a word


@TOKENIZERS.register_module()
class ClassEmbedding(TextTokenizer):
    """A learned vector per class, for captions that name one; token and pooled vector are the same (D-JEPA, MAR).

    A caption is a class's name ("goldfish"), its label ("1"), or a sentence around one name ("a photo of a goldfish"),
    of which the longest is meant ("great white shark"). Where two classes have the same name, it means the first.

    Args:
        names: As in :class:`~jepa_t.data.Captions`: a name or several for each class, or ``"imagenet"``.
        width: E, channels of the text.

    Attributes:
        names: All names of each class.
        length: 1.

    Raises:
        UserError: The names can't be read.

    Examples:
        >>> tokenizer = ClassEmbedding(["cat", ["dog", "hound"]], width=8)
        >>> tokenizer.ids(["a photo of a hound", "0"]).tolist()
        [[1], [0]]
        >>> tokenizer(["cat"]).pooled.shape
        torch.Size([1, 8])
    """

    length = 1

    def __init__(self, names: str | Sequence[str | Sequence[str]] = "imagenet", width: int = 768) -> None:
        super().__init__()
        from ..data.class_captions import Captions  # here, since jepa_t.data brings every data set

        self.names, self.width = Captions(names).names, check_integer("ClassEmbedding width", width)
        self.labels: dict[tuple[str, ...], int] = {}
        for label, synonyms in enumerate(self.names):
            for name in synonyms:
                self.labels.setdefault(_words(name), label)
        self.longest = max(map(len, self.labels))
        self.classes = table(len(self.names), width)
        self.null_class = table(1, width)

    def ids(self, captions: Sequence[str]) -> Tensor:
        """Labels ``[B, 1]``, int64, on the CPU.

        Raises:
            UserError: A caption is no text, empty, or names no class or several.
        """
        return torch.tensor([self._label(caption) for caption in captions], dtype=torch.int64)[:, None]

    def null(self, batch: int) -> Text:
        """The learned null class, the unconditional caption: ``batch`` equal rows."""
        return one_token(self.null_class.expand(batch, -1))

    def forward(self, captions: Sequence[str]) -> Text:
        """Vectors of B captions: tokens ``[B, 1, E]``, pooled ``[B, E]``.

        Raises:
            UserError: As :meth:`ids`.
        """
        labels = self.ids(captions)[:, 0].to(self.classes.device, non_blocking=True)
        return one_token(F.embedding(labels, self.classes))

    def _label(self, caption: str) -> int:
        words = _words(checked(caption))
        check_count(caption, len(words), len(words))
        if words in self.labels:  # before labels: a class may be called "7"
            return self.labels[words]
        if len(words) == 1 and words[0].isascii() and words[0].isdigit() and int(words[0]) < len(self.names):
            return int(words[0])
        found = {self.labels[name]: " ".join(name) for name in self._names_in(words)}
        if not found:
            raise unknown("class in the caption", caption, [name for synonyms in self.names for name in synonyms])
        if len(found) > 1:
            raise UserError(f"the caption {caption!r} names {' and '.join(map(repr, found.values()))}; name one class")
        return next(iter(found))

    def _names_in(self, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """The names in a sentence, from left to right, the longest where several begin."""
        while words:
            starts = (words[:count] for count in range(self.longest, 0, -1))
            name = next((start for start in starts if start in self.labels), None)
            if name:
                yield name
            words = words[len(name or "1") :]


def _words(text: str) -> tuple[str, ...]:
    words = (word.strip(AROUND) for word in text.casefold().split())
    return tuple(word for word in words if word and word.isprintable())
