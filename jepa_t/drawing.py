"""From captions and seeds to images, with all that may be asked besides; :meth:`JEPAT.generate` asks for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from .acceleration import HALF, autocast_of, cast_once
from .contracts import GenerativeObjective, ImageTokenizer, Sampler, StepwiseSampler
from .denoiser import Denoiser, check_drawn
from .ema import check_moved
from .errors import UserError, check_index
from .randomness import checked_seeds
from .sheets import hatch, to_image
from .structures import Caption, Given, Regional, Revealed, Seed, Split
from .tokenizers.encoding import decode, read
from .words import WordMap, word_maps

if TYPE_CHECKING:
    from .editing import Edit
    from .model import JEPAT
    from .regions import Regions


@dataclass(frozen=True)
class SamplingStep:
    """What there is after a sampling step, of the images that are drawn together.

    Attributes:
        number: Of the step, from 1.
        steps: How many there are.
        rows: Which of the call's captions these B images are for; their order says nothing.
        captions: Those B captions.
        seeds: Their seeds.
        tokens: So far ``[B, N, C]``; zero where masked.
        revealed: True at the tokens that this step has drawn ``[B, N]``.
        masked: True at those that are still to be drawn ``[B, N]``.
        tokenizer: The model's.
    """

    number: int
    steps: int
    rows: list[int]
    captions: list[Caption]
    seeds: list[Seed]
    tokens: Tensor = field(repr=False)
    revealed: Tensor = field(repr=False)
    masked: Tensor = field(repr=False)
    tokenizer: ImageTokenizer = field(repr=False)

    @torch.no_grad()
    def images(self) -> list[Image.Image]:
        """The partly drawn images; cells of two greys stand where tokens are masked."""
        images = decode(self.tokenizer, self.tokens)
        return [to_image(image) for image in hatch(images, self.masked, self.tokenizer.grid)]


@dataclass(frozen=True)
class Drawing:
    """What a pipeline drew, with all that it depends on.

    Attributes:
        images: One PIL image per caption, or a tensor ``[B, 3, H, W]`` in [-1, 1] if that was asked for.
        captions: What was asked for.
        seeds: Of each image; an image depends on its caption, its seed and the sampler alone, and on what it was told
            to keep.
        sampler: The sampler that drew them.
        trajectory: All sampling steps, if they were asked for.
        word_maps: For each image where in its caption it looked, if that was asked for; None if nothing was drawn.
        rows: Which of the call's captions these are.

    Examples:
        >>> from jepa_t import Pipeline
        >>> drawing = Pipeline.from_pretrained("emoji")(["a fox", "a cat"], seeds=[3, 4])
        >>> [image.size for image in drawing.images], drawing.seeds
        ([(64, 64), (64, 64)], [3, 4])
    """

    images: list[Image.Image] | Tensor
    captions: list[Caption]
    seeds: list[Seed]
    sampler: Sampler
    trajectory: list[SamplingStep] = field(default_factory=list, repr=False)
    word_maps: list[WordMap | None] = field(default_factory=list, repr=False)
    rows: list[int] = field(default_factory=list, repr=False)

    def frames(self, index: int) -> list[Image.Image]:
        """How image number ``index`` came about, an image per sampling step, if ``trajectory`` was asked for.

        Where nothing was drawn, as with ``mask=0``, there is no step.

        Raises:
            UserError: There is no image of that number.
        """
        row = self.rows[check_index("the image's index", index, len(self.rows))]
        return [step.images()[step.rows.index(row)] for step in self.trajectory if row in step.rows]


@dataclass(frozen=True)
class Request:
    """What is asked of a model; checked.

    Attributes:
        captions, seeds, sampler: As in :class:`Drawing`.
        negative: A caption for each, in place of the null text; or None.
        edit: What each image keeps; or None.
        regions: Captions of parts of each image; or None.
        callback: Called after each sampling step; or None.
        trajectory: Whether all steps are wanted.
        word_maps: Whether these are.
        output: ``pil`` or ``tensor``.
    """

    captions: list[Caption]
    seeds: list[Seed]
    sampler: Sampler
    negative: list[str] | None = None
    edit: Edit | None = None
    regions: Regions | None = None
    callback: Callable[[SamplingStep], object] | None = None
    trajectory: bool = False
    word_maps: bool = False
    output: str = "pil"

    def batches(self, model: JEPAT, size: int) -> Iterator[Drawing]:
        """Draw so many images at once."""
        for start in range(0, len(self.captions), size):
            yield self._batch(model, list(range(start, min(start + size, len(self.captions)))))

    def _batch(self, model: JEPAT, rows: list[int]) -> Drawing:
        steps: list[SamplingStep] = []
        looked: dict[int, WordMap] = {}
        counts = {
            row: (
                self.edit.counts[row] if self.edit else None,
                len(self.regions.captions[row]) if self.regions else 1,
            )
            for row in rows
        }
        # In each part as many tokens are masked, and followed as many captions, so that all shapes are one.
        parts = [[row for row in rows if counts[row] == count] for count in dict.fromkeys(counts.values())]
        tokens = torch.cat([self._part(model, part, steps, looked) for part in parts])
        places = sorted(range(len(rows)), key=[row for part in parts for row in part].__getitem__)
        images = decode(model.image_tokenizer, tokens[places] if len(parts) > 1 else tokens)
        captions, seeds = [self.captions[row] for row in rows], [self.seeds[row] for row in rows]
        made = [to_image(image) for image in images] if self.output == "pil" else images
        maps = [looked.get(row) for row in rows] if self.word_maps else []
        return Drawing(made, captions, seeds, self.sampler, steps, maps, rows)

    def _part(self, model: JEPAT, rows: list[int], steps: list[SamplingStep], looked: dict[int, WordMap]) -> Tensor:
        captions, seeds = [self.captions[row] for row in rows], [self.seeds[row] for row in rows]
        tokenizer, device = model.image_tokenizer, next(model.parameters()).device

        def watch(now: Revealed) -> None:
            tokens = now.tokens.masked_fill(now.masked[..., None], 0.0)
            step = SamplingStep(
                now.number, now.steps, rows, captions, seeds, tokens, now.revealed, now.masked, tokenizer
            )
            if self.trajectory:
                steps.append(step)
            if self.callback is not None:
                self.callback(step)

        given = self.edit.given(rows, tokenizer, device) if self.edit else None
        if given is not None and given.masked_count == 0:
            return given.tokens
        negative = None if self.negative is None else [self.negative[row] for row in rows]
        watched = watch if self.callback is not None or self.trajectory else None
        attended: list[tuple[Split, Tensor]] | None = [] if self.word_maps else None
        regional = self.regions.further(rows, model.ema.text_tokenizer, device) if self.regions else None
        first = [self.regions.captions[row][0] for row in rows] if self.regions else captions
        tokens = draw_tokens(model, first, seeds, self.sampler, negative, given, watched, attended, regional)
        if attended is not None:
            maps = word_maps(attended, [str(caption) for caption in captions], model.ema.text_tokenizer, tokenizer.grid)
            looked.update(zip(rows, maps, strict=True))
        return tokens


def joined(parts: Sequence[Drawing], request: Request) -> Drawing:
    """One drawing of the batches of a request."""
    images: Any = [image for part in parts for image in part.images]
    if request.output == "tensor":
        images = torch.stack(images) if images else torch.empty(0)
    steps = [step for part in parts for step in part.trajectory]
    maps = [map for part in parts for map in part.word_maps]
    rows = list(range(len(request.captions)))
    return Drawing(images, request.captions, request.seeds, request.sampler, steps, maps, rows)


@torch.no_grad()
def draw_tokens(
    model: JEPAT,
    captions: Sequence[Caption],
    seeds: Sequence[Seed],
    sampler: Sampler,
    negative: Sequence[str] | None = None,
    given: Given | None = None,
    watch: Callable[[Revealed], object] | None = None,
    attended: list[tuple[Split, Tensor]] | None = None,
    regional: Regional | None = None,
) -> Tensor:
    """Draw the tokens of an image per caption with the averaged weights ``[B, N, C]``.

    Args:
        model: Trained.
        captions: B of them.
        seeds: B of them.
        sampler: One that fits the model's objective.
        negative: B captions in place of guidance's null text.
        given: Tokens that stay.
        watch: Called after each sampling step.
        attended: A list for where the tokens look, as in :class:`~jepa_t.denoiser.Denoiser`.
        regional: Further captions, of parts of the images.

    Raises:
        UserError: A caption or a seed can't be read, the sampler can't do what is asked, the network has been
            trained and its average never updated, or the tokenizers are in half precision.
    """
    seeds = checked_seeds(seeds, len(captions))
    check_moved(model.network, model.ema, model.began)
    check_precision(model.image_tokenizer)
    check_sampler(sampler, model.ema.generative, negative is not None, watch is not None, given is not None)
    text = read(model.ema.text_tokenizer, captions)
    away = None if negative is None else read(model.ema.text_tokenizer, negative)
    denoiser = Denoiser(model.ema, model.image_tokenizer, away, attended, regional)
    with autocast_of(model.ema.encoder), cast_once(model.ema, text.pooled.device.type):
        if isinstance(sampler, StepwiseSampler) and (watch or given):
            for step in sampler.trajectory(denoiser, text, seeds, given):
                tokens = step.tokens
                if watch:
                    watch(step)
        else:
            tokens = sampler(denoiser, text, seeds)
    check_drawn(tokens, len(captions), model.image_tokenizer, sampler)
    return tokens


def check_precision(tokenizer: ImageTokenizer) -> None:
    """See that a tokenizer is in float32, as it isn't after ``model.half()``.

    Raises:
        UserError: It isn't.
    """
    for tensor in (*tokenizer.parameters(), *tokenizer.buffers()):
        if tensor.dtype in HALF:
            raise UserError(
                f"the tokenizers are in {tensor.dtype} and stay in torch.float32; load the model anew, and get half "
                "precision by Pipeline.to(dtype=torch.float16)"
            )


def check_sampler(
    sampler: Sampler,
    objective: GenerativeObjective,
    negative: bool = False,
    watched: bool = False,
    given: bool = False,
) -> None:
    """See that a sampler, and what it draws by, can do what is asked.

    Raises:
        UserError: It can't.
    """
    asked = {"take negative captions": negative, "be watched": watched, "edit images": given}
    named = [name for name, wanted in asked.items() if wanted]
    if named and not isinstance(sampler, StepwiseSampler):
        kind = type(sampler).__name__
        raise UserError(f"sampler {kind} can't {named[0]}; use one derived from StepwiseSampler, such as MaskedSampler")
    if negative and objective.guides_itself:
        raise UserError("negative captions stand in for the null text, which this model has learned in; give none")
    if negative and isinstance(sampler, StepwiseSampler) and not sampler.guided:
        raise UserError("negative captions act through guidance, which is off; give a guidance_scale other than 1")
