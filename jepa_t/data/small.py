"""A folder of captioned images that memory holds, some of which training never sees."""

import numpy as np
from torch import Tensor

from ..contracts import ImageTokenizer, TextTokenizer
from ..errors import UserError, check_integer, check_share, unknown
from ..registry import DATASETS
from .broken import BrokenSample
from .captioned import CaptionedImages
from .decoding import to_inputs
from .hashing import draw
from .sets import HoldsTokens, PromptSet

PARTS = ("train", "held_out", "all")


@DATASETS.register_module()
class SmallImages(HoldsTokens):
    """Captioned images, all in memory, split by their names: what is held out stays so when others are added.

    Args:
        source: A folder, a manifest or tar shards, as in `CaptionedImages`.
        size: Height and width in pixels.
        part: ``train``, ``held_out`` or ``all``.
        held_out: Share of the images that training never sees, in [0, 1); the names decide which.
        max_broken: Share of all the images, in [0, 1], that may be broken; these are left out. Fewer than ten always
            may be.

    Attributes:
        images: The images of the part ``[n, 3, size, size]``, float32 in [-1, 1].
        captions: Of each pair of image and caption; an image has one or more.
        rows: Which image each caption belongs to.

    Raises:
        UserError: An argument is out of range, the source can't be read, too many images are broken, or the part is
            empty.
    """

    def __init__(
        self, source: str, size: int = 64, part: str = "train", held_out: float = 0.1, max_broken: float = 0.001
    ) -> None:
        if part not in PARTS:
            raise unknown("SmallImages part", part, PARTS)
        check_share("SmallImages held_out", held_out)
        self.image_size = (check_integer("SmallImages size", size),) * 2
        found = CaptionedImages(source, size, max_broken=max_broken)
        pixels, self.captions, rows, held = [], [], [], []
        self._texts: list[tuple[str, list[str]]] = []
        for number, name in enumerate(found.names):
            try:
                image, said = found.pixels(number), found.describe.fact(number)
            except BrokenSample as broken:
                found.tally.count(name, str(broken))
                continue
            found.tally.read += 1
            self._texts.append((name, said))
            hold = _is_held_out(name, held_out)
            if part == "all" or hold == (part == "held_out"):
                pixels.append(image)
                held.append(hold)
                self.captions += said
                rows += [len(pixels) - 1] * len(said)
        found.tally.sum_up(source)
        if not pixels:
            remedy = f"change held_out={held_out}" if self._texts else f"all are broken, see {found.tally.report}"
            raise UserError(f"SmallImages part={part!r} of {source!r} is empty; {remedy}")
        self.images, self.rows, self.held_out = to_inputs(pixels), np.array(rows), np.array(held)
        self.tokens: Tensor | None = None

    def check(self, image_tokenizer: ImageTokenizer, text_tokenizer: TextTokenizer) -> None:
        """See that the images have the right size, and that each caption can be read, of what is held out too.

        Raises:
            UserError: They have another size, or a caption can't be read, such as for its length.
        """
        super().check(image_tokenizer, text_tokenizer)
        read, refused, count = text_tokenizer.reader(), [], 0
        for name, said in self._texts:
            for caption in said:
                count += 1
                try:
                    read(caption)
                except UserError as error:
                    refused.append(f"{name}: {error}")
        if refused:
            raise UserError(
                f"{len(refused)} of {count} captions can't be read, such as that of {refused[0]}; or, where they are "
                "too long, raise model.text_tokenizer.length"
            )

    def hold(self, tokens: Tensor) -> None:
        """Give these tokens ``[n, N, C]`` in the images' place from now on."""
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.captions)

    def __getitems__(self, indices: list[int]) -> dict:
        """A batch: ``inputs``, images ``[B, 3, H, W]`` or ``{"tokens": [B, N, C]}``, and their ``caption`` list."""
        rows = self.rows[indices]
        inputs = self.images[rows] if self.tokens is None else {"tokens": self.tokens[rows]}
        return {"inputs": inputs, "data_samples": {"caption": [self.captions[i] for i in indices]}}


@DATASETS.register_module()
class SmallPrompts(PromptSet):
    """Captions of such a folder, each with the number of its image among ``part="all"``, for `RetrievalMetric`.

    Args:
        source: A folder, a manifest or tar shards, as in `CaptionedImages`.
        size: Height and width in pixels.
        held_out: Share of the images that training never sees, in [0, 1); the names decide which.
        seed: Decides which prompts are asked, where there are more.
        per_split: How many at most of each split, ``seen`` and ``held_out``.
        images: Give the real images as ``inputs``, to measure a tokenizer.
        max_broken: As of `CaptionedImages`.
    """

    def __init__(
        self,
        source: str,
        size: int = 64,
        held_out: float = 0.1,
        seed: int = 0,
        per_split: int = 200,
        images: bool = False,
        max_broken: float = 0.001,
    ) -> None:
        check_integer("SmallPrompts per_split", per_split)
        everything = SmallImages(source, size, "all", held_out, max_broken)
        held = everything.held_out[everything.rows]
        order = np.argsort(draw(seed, "small prompts", np.arange(len(held)), 2**62), kind="stable")
        chosen = [i for hold in (False, True) for i in order[held[order] == hold][:per_split]]
        self.splits = ["held_out" if held[i] else "seen" for i in chosen]
        self.facts = [{"image": int(everything.rows[i])} for i in chosen]
        real = everything.images[everything.rows[chosen]] if images else None
        super().__init__([everything.captions[i] for i in chosen], real, split=self.splits, facts=self.facts)


def _is_held_out(name: str, share: float) -> bool:
    return int(draw(0, f"held out {name}", np.zeros(1, np.int64), 2**32)[0]) < share * 2**32
