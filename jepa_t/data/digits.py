"""Inked digits: real handwritten digits in coloured ink on coloured paper, each with a sentence that says so.

The 1,797 scans of 8 x 8 pixels come with scikit-learn. They are split once, before anything is rendered:
1,500 to train on, 297 that neither the generator nor the oracle sees before the evaluation.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import UserError, unknown
from ..registry import DATASETS, FUNCTIONS
from .hashing import draw, hash_bits

TRAINING_SCANS = 1500
SIDE = 8  # pixels of a scan

# In [-1, 1]. Far apart from each other, and each ink from each paper in luminance too. Whole 32nds, so that a
# blend by sixteenths is exact: the images are the same bits on every machine.
PAPERS = {"white": (1.0, 1.0, 1.0), "black": (-1.0, -1.0, -1.0), "grey": (0.0, 0.0, 0.0)}
INKS = {
    "red": (0.625, -0.875, -0.875),
    "green": (-1.0, -0.125, -0.75),
    "blue": (-0.75, -0.625, 1.0),
    "yellow": (0.875, 0.625, -0.75),
    "purple": (0.125, -0.875, 0.25),
    "cyan": (-0.5, 0.875, 0.875),
}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# A fifth of the (digit, ink) compositions [10, 6] never occurs in training. On a Latin diagonal every ink
# keeps eight digits and every digit at least four inks.
WITHHELD = (np.arange(10)[:, None] + np.arange(6)[None, :]) % 5 == 0


@dataclass(frozen=True)
class Layout:
    """How many scans an image shows, where, and how that is said.

    Attributes:
        size: Height and width of the image in pixels.
        templates: Caption templates of the training images.
        paraphrases: Templates withheld from training, made of the same words.
    """

    size: tuple[int, int]
    templates: tuple[str, ...]
    paraphrases: tuple[str, ...]

    @property
    def places(self) -> int:
        """How many scans an image shows."""
        return self.size[0] * self.size[1] // SIDE**2

    @property
    def axis(self) -> int:
        """The dimension of an image along which its scans lie."""
        return -2 if self.size[0] > self.size[1] else -1


def _two(size: tuple[int, int], before: str, after: str) -> Layout:
    """Two scans; each scene can be told from either of them, so that word order counts."""
    forth = "a {ink} {digit} " + before + " a {ink2} {digit2}"
    back = "a {ink2} {digit2} " + after + " a {ink} {digit}"
    on = "on {paper} paper"
    return Layout(size, (forth, back, f"{forth} {on}", f"{on} {back}"), (f"{on} {forth}", f"{back} {on}"))


LAYOUTS = {
    "single": Layout(
        (8, 8),
        (
            "a {ink} {digit}",
            "a {ink} {digit} on {paper} paper",
            "the digit {digit} in {ink} ink",
            "on {paper} paper the digit {digit} in {ink}",
        ),
        ("the {digit} in {ink} ink on {paper} paper", "the {ink} digit {digit}"),
    ),
    "pairs": _two((8, 16), "left of", "right of"),
    "stacked": _two((16, 8), "above", "below"),
}


@dataclass(frozen=True)
class Scans:
    """Handwritten digits: ``coverage`` by ink ``[N, 8, 8]`` in [0, 1], in sixteenths, and ``digits [N]``."""

    coverage: Tensor
    digits: np.ndarray


@dataclass(frozen=True)
class Scenes:
    """What images show: ``digits`` and ``inks [N, places]`` (left to right or top down), ``papers [N]``."""

    digits: np.ndarray
    inks: np.ndarray
    papers: np.ndarray


def layout_named(name: str) -> Layout:
    """The layout of that name.

    Raises:
        UserError: There is none.
    """
    if name not in LAYOUTS:
        raise unknown("layout", name, LAYOUTS)
    return LAYOUTS[name]


@cache
def load_scans() -> tuple[Scans, Scans]:
    """The 1,500 training scans and the 297 held-out ones; any prefix of the former has balanced digits."""
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    shuffled = np.argsort(hash_bits(0, "split", np.arange(len(digits))), kind="stable")
    train, held_out = shuffled[:TRAINING_SCANS], shuffled[TRAINING_SCANS:]
    # First of each digit, then the second of each, ...
    train = train[np.argsort(occurrence(digits[train]), kind="stable")]
    coverage = torch.from_numpy(images.reshape(-1, SIDE, SIDE) / 16).float()
    return tuple(Scans(coverage[part], digits[part]) for part in (train, held_out))


def training_prefix(scans: int) -> Scans:
    """The first ``scans`` training scans.

    Raises:
        UserError: Fewer than one a digit, or more than there are.
    """
    if not 10 <= scans <= TRAINING_SCANS:
        raise UserError(f"scans={scans}: use 10 (one a digit) to {TRAINING_SCANS}")
    train, _ = load_scans()
    return Scans(train.coverage[:scans], train.digits[:scans])


def occurrence(values: np.ndarray) -> np.ndarray:
    """How often each value ``[N]`` has occurred before: 0 for its first place, 1 for its second, ..."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    count = np.empty(len(values), np.int64)
    count[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    return count


def pick(scans: Scans, digits: np.ndarray, rank: np.ndarray) -> Tensor:
    """The ``rank``-th scan (counted around) of each of the ``digits [...]``: coverage ``[..., 8, 8]``."""
    order, counts = np.argsort(scans.digits, kind="stable"), np.bincount(scans.digits, minlength=10)
    # Both unsigned: numpy takes the remainder of a mixed pair in floating point, which loses the low bits.
    nth = (rank.astype(np.uint64) % counts.astype(np.uint64)[digits]).astype(np.int64)
    return scans.coverage[order[(np.cumsum(counts) - counts)[digits] + nth]]


def pick_at_random(scans: Scans, digits: np.ndarray, seed: int, stream: str, index: np.ndarray) -> Tensor:
    """A scan of each of the ``digits [N, places]``, drawn by seed, stream and ``index [N]``."""
    ranks = [hash_bits(seed, f"{stream} scan {place}", index) for place in range(digits.shape[1])]
    return pick(scans, digits, np.stack(ranks, 1))


def render(coverage: Tensor, scenes: Scenes, layout: Layout) -> Tensor:
    """Ink scans on paper.

    Args:
        coverage: Coverage of the scans ``[N, places, 8, 8]`` in [0, 1].
        scenes: Their inks and papers.
        layout: How the scans are laid out.

    Returns:
        Images ``[N, 3, H, W]`` in [-1, 1].
    """
    paper = torch.tensor(list(PAPERS.values()))[scenes.papers][:, None, :, None, None]
    ink = torch.tensor(list(INKS.values()))[scenes.inks][..., None, None]
    parts = paper + coverage[:, :, None] * (ink - paper)
    return torch.cat(parts.unbind(1), dim=layout.axis)


def draw_scenes(
    seed: int, stream: str, index: np.ndarray, places: int, *, withheld: bool = False, distinct: bool = False
) -> Scenes:
    """Random scenes: digits uniform, inks uniform among those allowed with the digit, papers uniform.

    Args:
        seed: With ``stream`` and ``index`` all that a scene depends on.
        stream: What the scenes are for.
        index: Numbers of the scenes ``[N]``.
        places: How many scans an image shows.
        withheld: Compositions of digit and ink that training never shows, instead of those it does.
        distinct: The digit of the second place differs from the first's.
    """
    numbers = [draw(seed, f"{stream} digit {place}", index, 10) for place in range(places)]
    if distinct:
        numbers[1] = (numbers[0] + 1 + draw(seed, f"{stream} other digit", index, 9)) % 10
    digits = np.stack(numbers, 1)
    allowed = WITHHELD if withheld else ~WITHHELD
    choices, count = np.argsort(~allowed, axis=1, kind="stable"), allowed.sum(1)
    ranks = [draw(seed, f"{stream} ink {place}", index, count[digits[:, place]]) for place in range(places)]
    papers = draw(seed, f"{stream} paper", index, len(PAPERS))
    return Scenes(digits, choices[digits, np.stack(ranks, 1)], papers)


def draw_templates(templates: tuple[str, ...], seed: int, stream: str, index: np.ndarray) -> list[str]:
    """One of the templates for each index ``[N]``."""
    return [templates[i] for i in draw(seed, f"{stream} template", index, len(templates))]


def describe(scenes: Scenes, templates: list[str]) -> list[str]:
    """The captions of the scenes in these templates, one each."""
    inks, papers = list(INKS), list(PAPERS)
    columns = (templates, scenes.digits.tolist(), scenes.inks.tolist(), scenes.papers.tolist())
    return [
        template.format(
            digit=DIGITS[digits[0]], ink=inks[ink[0]],
            digit2=DIGITS[digits[-1]], ink2=inks[ink[-1]], paper=papers[paper],
        )
        for template, digits, ink, paper in zip(*columns, strict=True)
    ]  # fmt: skip


@FUNCTIONS.register_module()
def keep_batch(batch: dict) -> dict:
    """The collate function of datasets that give whole batches: nothing is left to do."""
    return batch


@DATASETS.register_module()
class InkedDigits(Dataset):
    """Training images and captions; number ``i`` depends on ``seed``, ``scans`` and ``i`` alone.

    Args:
        size: How many images.
        seed: Seed of the scenes. The split of the scans is always the same.
        scans: How many of the training scans are used, 10 to 1,500; the smaller sets are part of the larger.
        layout: ``single`` (8 x 8 pixels), ``pairs`` side by side (8 x 16) or ``stacked`` (16 x 8).

    Attributes:
        images: All images ``[size, 3, H, W]``, float32 in [-1, 1].
        captions: Their captions.

    Raises:
        UserError: An argument is out of range.
    """

    def __init__(self, size: int = 24000, seed: int = 0, scans: int = TRAINING_SCANS, layout: str = "single") -> None:
        if size < 1:
            raise UserError(f"InkedDigits size={size}: use 1 or more")
        source, form, index = training_prefix(scans), layout_named(layout), np.arange(size)
        scenes = draw_scenes(seed, "train", index, form.places)
        self.images = render(pick_at_random(source, scenes.digits, seed, "train", index), scenes, form)
        self.captions = describe(scenes, draw_templates(form.templates, seed, "train", index))

    def __len__(self) -> int:
        return len(self.captions)

    def __getitems__(self, indices: list[int]) -> dict:
        """A batch: ``inputs [B, 3, H, W]`` and ``data_samples`` with the ``caption`` list."""
        captions = [self.captions[i] for i in indices]
        return {"inputs": self.images[indices], "data_samples": {"caption": captions}}
