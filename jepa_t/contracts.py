"""What each kind of component promises: derive from one of these, register the class, and it can be swapped in.

A fusion needs no class: it is a module ``(x, text) -> x``, and :mod:`jepa_t.fusion` says of which shape.
Letters: B batch, N image tokens, V visible, K asked, R registers, L text tokens, C token channels, D width,
E text width.

Before the first training step a rehearsal (:mod:`jepa_t.rehearsal`) compares what components return with this page.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from torch import Generator, Tensor, nn

from .structures import Drawn, Given, Prediction, Revealed, Seed, Split, Target, Text

if TYPE_CHECKING:
    from .denoiser import Denoiser


class Fitted(ABC):
    """A tokenizer that learns from the training data once, before the first step; its buffer says whether it has."""

    fitted: Tensor | bool

    @abstractmethod
    def fit(self, data: Any) -> None:
        """Learn from images ``[n, 3, H, W]`` in [-1, 1], or from captions, and set ``fitted``."""


class ImageTokenizer(nn.Module, ABC):
    """Images to tokens of about unit variance, and back.

    Attributes:
        grid: Rows and columns of tokens; N is their product.
        stride: Pixels that a token covers, in height and in width.
        channels: C, of a token.

    Examples:
        >>> import torch
        >>> class Pixels(ImageTokenizer):
        ...     grid, stride, channels = (4, 4), 1, 3
        ...
        ...     def encode(self, images):
        ...         return images.flatten(2).transpose(1, 2)
        ...
        ...     def decode(self, tokens):
        ...         return tokens.transpose(1, 2).unflatten(2, self.grid)
        >>> Pixels().encode(torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 16, 3])
    """

    grid: tuple[int, int]
    stride: int
    channels: int

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` in [-1, 1] to tokens ``[B, N, C]``, row by row."""

    @abstractmethod
    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens ``[B, N, C]`` to images ``[B, 3, H, W]``."""


class LatentImageTokenizer(ImageTokenizer):
    """An image tokenizer whose latents' distribution can be kept on a disk (``jepa-t cache-latents``)."""

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What moments depend on besides the images: the weights' ``sha256`` and the ``shape`` of moments."""

    @abstractmethod
    def moments(self, images: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` in [-1, 1] to mean and log-variance ``[B, 2C', h, w]``."""

    @abstractmethod
    def from_moments(self, moments: Tensor) -> Tensor:
        """What :meth:`moments` gives, in any precision, to tokens ``[B, N, C]``."""


class DiscreteImageTokenizer(ImageTokenizer):
    """An image tokenizer whose tokens are codes of a codebook.

    Attributes:
        codebook_size: How many codes there are.
        codes_per_token: How many codes make a token; ids are of tokens that are one code each.
    """

    codebook_size: int
    codes_per_token: int

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Ids ``[...]`` in [0, codebook_size) to tokens ``[..., C]``."""

    @abstractmethod
    def snap(self, tokens: Tensor) -> Tensor:
        """The ids ``[...]`` of the codes nearest to tokens ``[..., C]``; undoes :meth:`embed`."""

    @abstractmethod
    def quantize(self, tokens: Tensor) -> Tensor:
        """The nearest tokens that are made of codes ``[..., C]``."""


class TrainedTokenizer(ABC):
    """An image tokenizer that is trained by itself, before a model uses it."""

    @abstractmethod
    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """Named losses and figures of images ``[B, 3, H, W]`` in [-1, 1]."""


class TextTokenizer(nn.Module, ABC):
    """Captions to text tokens.

    Attributes:
        width: E, channels of the text.
        length: L; a caption of more tokens is refused.
    """

    width: int
    length: int

    @abstractmethod
    def ids(self, captions: Sequence[str]) -> Tensor:
        """What is read of B captions, as numbers ``[B, L]`` on the CPU.

        Raises:
            UserError: A caption can't be read: it is empty, too long, or no text.
        """

    def reader(self) -> Callable[[str], object]:
        """What refuses a caption that can't be read, by a `UserError`, for the workers of a data loader.

        They may be sent it, so it is better without tensors.
        """
        return partial(_read, self)

    @abstractmethod
    def forward(self, captions: Sequence[str]) -> Text:
        """B captions as :class:`~jepa_t.structures.Text`."""

    @abstractmethod
    def null(self, batch: int) -> Text:
        """The unconditional caption, ``batch`` times: for training's caption drop and for guidance alike."""


def _read(tokenizer: TextTokenizer, caption: str) -> Tensor:
    return tokenizer.ids([caption])


class Vocabulary(ABC):
    """A text tokenizer that can tell which words training has shown it."""

    @abstractmethod
    def unknown_words(self, caption: str) -> list[str]:
        """The words of a caption that training never showed, in order."""


class Worded(ABC):
    """A text tokenizer that can tell which of its tokens a word is."""

    @abstractmethod
    def word_spans(self, caption: str) -> list[tuple[str, range]]:
        """The words of a caption in order, each with the text tokens, of the L, that it is.

        Raises:
            UserError: They can't be told apart.
        """


class AttendingFusion(nn.Module, ABC):
    """A fusion whose image tokens look at the text tokens, and which can say how much at each."""

    @abstractmethod
    def attention(self, x: Tensor, text: Text) -> Tensor:
        """How each of ``x [B, K, D]`` shares its attention among the text tokens ``[B, K, L]``; rows sum to 1."""


class Encoder(nn.Module, ABC):
    """The context encoder; its averaged copy is the target encoder.

    Attributes:
        registers: Learned tokens without a position ``[R, D]``, each different from the start.
    """

    registers: nn.Parameter

    @abstractmethod
    def forward(self, tokens: Tensor, positions: Tensor, registers: Tensor) -> tuple[Tensor, Tensor]:
        """Encode what is visible.

        Args:
            tokens: Visible tokens ``[B, V, C]``; V may be 0.
            positions: Where they lie ``[B, V]``.
            registers: For each image, after the ``encoder`` fusion ``[B, R, D]``.

        Returns:
            The registers ``[B, R, D]`` and the tokens ``[B, V, D]``, encoded.
        """


class Predictor(nn.Module, ABC):
    """The feature predictor: from the context to the features of what is masked.

    Attributes:
        depth: How many blocks it has, after each of which ``after_block`` is called.
    """

    depth: int

    @abstractmethod
    def place(self, registers: Tensor, visible: Tensor, split: Split, fuse: Callable[[Tensor], Tensor]) -> Tensor:
        """The input sequence.

        Args:
            registers: Encoded registers ``[B, R, D]``.
            visible: Encoded visible tokens ``[B, V, D]``.
            split: Which tokens are where.
            fuse: The ``context`` fusion, to be called once with both ``[B, R + V, D]``.

        Returns:
            ``[B, R + N, D]``.
        """

    @abstractmethod
    def forward(self, x: Tensor, split: Split, after_block: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Predict the features of the asked tokens.

        Args:
            x: The sequence from :meth:`place`, after the ``predictor`` fusion ``[B, R + N, D]``.
            split: Which tokens are asked for.
            after_block: The ``blocks`` fusion, to be called once for each block with its index and output. Where an
                image has several captions, such as under guidance, it returns a row for each.

        Returns:
            ``[B, K, D]``.
        """


class Objective(nn.Module, ABC):
    """A loss on what the network predicts.

    Attributes:
        weight: Of this loss in the sum; at 0 it isn't computed, and nothing of the objective is trained.
        reads: What it reads of a target besides its tokens: some of ``features``, ``ids`` and ``null``.

    Examples:
        >>> import torch
        >>> class Short(Objective):
        ...     def forward(self, prediction, target, generator=None):
        ...         return {"loss_length": self.weight * prediction.condition.square().mean()}
        >>> one = torch.ones(1, 2, 3)
        >>> Short()(Prediction(one, one), Target(tokens=torch.zeros(1, 2, 4)))
        {'loss_length': tensor(1.)}
    """

    weight: float = 1.0
    reads: frozenset[str] = frozenset()

    @abstractmethod
    def forward(self, prediction: Prediction, target: Target, generator: Generator | None = None) -> dict[str, Tensor]:
        """Named scalar losses, already weighted; training sums those whose names contain ``loss``.

        Args:
            prediction: What the network says of the asked tokens.
            target: What they are.
            generator: Source of the randomness, on the tokens' device and equal on all processes.
        """


class RandomSource(Protocol):
    """A source of random numbers for each image of a batch."""

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers ``[B, *shape]``."""

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) ``[B, *shape]``."""

    def gumbel(self, *shape: int) -> Tensor:
        """Standard Gumbel numbers ``[B, *shape]``."""


class GenerativeObjective(Objective):
    """An objective that can draw tokens. A model has exactly one.

    The keyword-only parameters of ``draw`` are options of the objective's own; a sampler passes them on from its
    ``draw=dict(...)`` and refuses those that aren't there.

    Attributes:
        gives_confidence: Whether it says how sure it is of each token, as the order ``confidence`` needs.
        fewest_evaluations: Evaluations of its head per token, below which what it draws falls apart.
        guides_itself: Whether it has learned what guidance adds, so that samplers give the scale and no null branch.
    """

    gives_confidence: ClassVar[bool] = False
    fewest_evaluations: ClassVar[int] = 1
    guides_itself: bool = False

    @abstractmethod
    def draw(
        self,
        condition: Tensor,
        random: RandomSource,
        null: Tensor | None = None,
        guidance_scale: float = 1.0,
        temperature: float = 1.0,
        progress: float = 0.0,
    ) -> Drawn:
        """Draw tokens, or their ids.

        Args:
            condition: What the network says with the caption ``[B, K, D]``.
            random: Source of the randomness, one for each image.
            null: What it says with the null text ``[B, K, D]``; None for no guidance, and where it is learned in.
            guidance_scale: w in ``null + w (text - null)``.
            temperature: How freely tokens are drawn: 1 as learned, 0 the likeliest.
            progress: The share of the sampling steps that have been made, in [0, 1]: 0 at the first, 1 at the last.
        """


class Sampler(ABC):
    """From captions to image tokens."""

    @abstractmethod
    def check(self, objective: GenerativeObjective) -> None:
        """See that this sampler and a model's generative objective fit.

        Raises:
            UserError: They don't.
        """

    @abstractmethod
    def __call__(self, denoiser: Denoiser, text: Text, seeds: Sequence[Seed]) -> Tensor:
        """Draw the tokens of one image for each of B captions ``[B, N, C]``.

        Args:
            denoiser: What the model says and draws.
            text: The captions.
            seeds: One per image, for :class:`~jepa_t.sampling.Generators`.
        """


class StepwiseSampler(Sampler):
    """A sampler that can be watched, and that can be given tokens which stay."""

    @property
    @abstractmethod
    def guided(self) -> bool:
        """Whether it reads the null text, in whose place a negative caption can stand."""

    @abstractmethod
    def trajectory(
        self, denoiser: Denoiser, text: Text, seeds: Sequence[Seed], given: Given | None = None
    ) -> Iterator[Revealed]:
        """Draw step by step; at least one.

        Args:
            denoiser: What the model says and draws.
            text: B captions.
            seeds: One per image.
            given: Tokens that stay, and are visible from the first step on; None for none. If all are masked, what is
                drawn is the same to the bit as without.

        Yields:
            What there is after each step; after the last nothing is masked.
        """

    def __call__(self, denoiser: Denoiser, text: Text, seeds: Sequence[Seed]) -> Tensor:
        """Draw the tokens of one image for each of B captions ``[B, N, C]``: where the trajectory ends."""
        for step in self.trajectory(denoiser, text, seeds):
            tokens = step.tokens
        return tokens
