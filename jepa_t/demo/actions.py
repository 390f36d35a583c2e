"""What a click on the page does, as plain functions: no browser and no Gradio needed."""

import queue
import secrets
import shlex
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from PIL import Image, ImageOps

from ..contracts import StepwiseSampler, Vocabulary
from ..drawing import Drawing, SamplingStep
from ..errors import UserError, check_integer, unknown
from ..pipeline import Pipeline
from ..randomness import SEEDS
from ..sampling import PRESETS
from ..sheets import enlarge, heat_map
from ..words import WordMap, check_words

AS_TRAINED = "as trained"
SIDE, GAP, MOST = 320, 8, 4  # pixels of an image on the page, between two of a strip; images of a strip
Models = Mapping[str, Pipeline]


@dataclass(frozen=True)
class Wanted:
    """What is asked of the models; None leaves a choice to each.

    Args:
        caption: The text.
        seed: Of the first image; each other has the next.
        count: Images of each model.
        guidance: The guidance scale.
        preset: A sampler preset.
        steps: Sampling steps.
    """

    caption: str
    seed: int
    count: int = 1
    guidance: float | None = None
    preset: str | None = None
    steps: int | None = None

    @property
    def seeds(self) -> list[int]:
        """One for each image."""
        return [self.seed + number for number in range(self.count)]

    @property
    def options(self) -> dict[str, Any]:
        """What the sampler is asked to change."""
        given = {"preset": self.preset, "steps": self.steps, "guidance_scale": self.guidance}
        return {name: value for name, value in given.items() if value is not None}

    @classmethod
    def typed(
        cls, caption: object, seed: object, count: object, guidance: object, preset: object, steps: object
    ) -> "Wanted":
        """From what the page's fields hold; an empty one leaves the choice to the model, and the seed to chance.

        The page's API passes on whatever it is given, so each may be of any type.

        Raises:
            UserError: There is no caption, a field holds no number, or there is no such preset.
        """
        if not isinstance(caption, str) or not caption.strip():
            raise UserError("there is no caption; type one, such as: a fox")
        count = check_integer("the number of images", count)
        if count > MOST:
            raise UserError(f"{count} images were asked for; ask for 1 to {MOST}")
        if not isinstance(preset, str) or preset not in (AS_TRAINED, *PRESETS):
            raise unknown("preset", preset, (AS_TRAINED, *PRESETS))
        chosen = number("seed", seed, int)
        return cls(
            caption,
            secrets.randbelow(SEEDS - MOST) if chosen is None else chosen,
            count,
            number("guidance", guidance, float),
            None if preset == AS_TRAINED else preset,
            number("steps", steps, int),
        )


def number(name: str, held: object, kind: type) -> Any:
    """The number that a field holds, as text or as such; None for an empty one.

    Raises:
        UserError: It holds something else.
    """
    text = "" if held is None else str(held)
    try:
        return kind(text) if text.strip() else None
    except ValueError as error:
        what = "a whole number" if kind is int else "a number"
        raise UserError(f"{name} is {held!r}; type {what}, or nothing") from error


@dataclass(frozen=True)
class Part:
    """An image of which a part is to be drawn anew.

    Args:
        image: Of any size; the middle of it is taken.
        mask: Of the same size, white where to draw anew.
    """

    image: Image.Image
    mask: Image.Image

    @classmethod
    def of_editor(cls, editor: Mapping[str, Any] | None) -> "Part":
        """From what Gradio's image editor holds: a background, and layers with what was brushed.

        Raises:
            UserError: There is no image, nothing was brushed, or a layer is of another size.
        """
        held = editor or {}
        background = held.get("background")
        if not isinstance(background, Image.Image):
            raise UserError("there is no image to change; take the drawn one, or give one of yours")
        mask = np.zeros((background.height, background.width), bool)
        for layer in held.get("layers") or ():
            if layer.size != background.size:
                raise UserError(f"the image is {background.size} and a layer {layer.size}; give both in one size")
            mask |= np.asarray(layer.convert("RGBA"))[..., 3] > 0
        if not mask.any():
            raise UserError("nothing was brushed; brush over what is to be drawn anew")
        return cls(flat(background), Image.fromarray(mask))

    def fitted(self, pipeline: Pipeline) -> "Part":
        """At the size that a model draws; a pixel of the mask is white if any of those that it stands for was.

        Raises:
            UserError: What was brushed is cut off.
        """
        tokenizer = pipeline.model.image_tokenizer
        size = (tokenizer.grid[1] * tokenizer.stride, tokenizer.grid[0] * tokenizer.stride)
        shares = ImageOps.fit(self.mask.convert("L").convert("F"), size, Image.Resampling.BOX)
        mask = np.asarray(shares) > 1e-3
        if not mask.any():
            raise UserError("what was brushed lies outside the middle that the model sees; brush nearer to the middle")
        return Part(ImageOps.fit(self.image, size, Image.Resampling.BOX), Image.fromarray(mask))


def flat(image: Image.Image) -> Image.Image:
    """An image in RGB, on white."""
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image.convert("RGBA"))
    return paper.convert("RGB")


@dataclass(frozen=True)
class View:
    """What is on the page at a moment.

    Attributes:
        strips: An image for each model, of all that it has drawn; None before.
        said: What is told below them.
        words: By model, the maps of the words that its first image looked at.
    """

    strips: list[Image.Image | None]
    said: str
    words: dict[str, list[tuple[str, Image.Image]]]


def draw(models: Models, wanted: Wanted, parts: Mapping[str, Part] | None = None) -> Iterator[View]:
    """Draw with each model, and say at each sampling step what there is.

    Args:
        models: By name.
        wanted: What is asked.
        parts: By model what is to be drawn anew of an image, at its size; None draws whole ones.

    Raises:
        UserError: Something can't be drawn; what it says names the remedy.
    """
    view = View([None] * len(models), "", {})
    for place, (name, pipeline) in enumerate(models.items()):
        for event in watched(pipeline, wanted, (parts or {}).get(name)):
            strips, words = [*view.strips], dict(view.words)
            if isinstance(event, Drawing):
                strips[place], said = strip(drawn(event)), ""
                words |= {name: word_maps(event)} if any(event.word_maps) else {}
            else:
                strips[place], said = strip(in_order(event)), f"{name}: step {event.number} of {event.steps}"
            view = View(strips, said, words)
            yield view
    strange = {name: unknown for name, one in models.items() if (unknown := unknown_words(one, wanted.caption))}
    notes = [f"{name} was never trained on {', '.join(map(repr, unknown))}." for name, unknown in strange.items()]
    notes += [f"{name}: {why}." for name, one in models.items() if (why := no_words(one, wanted.caption))]
    seeds = ", ".join(map(str, wanted.seeds))
    yield replace(view, said=" ".join([f"Drawn with seed{'s' * (wanted.count > 1)} {seeds}.", *notes]))


def warm(models: Models) -> None:
    """Draw once with each model, in one step, so that what is read late is there before the first click."""
    for pipeline in models.values():
        with suppress(UserError):  # of a model that doesn't know the word, or takes no steps
            pipeline("a", [0], steps=1)


def watched(pipeline: Pipeline, wanted: Wanted, part: Part | None = None) -> Iterator[SamplingStep | Drawing]:
    """A model's sampling steps as they are made, if its sampler makes steps; then what was drawn.

    Once the iterator is closed, as when the page is, the model stops after the step that it is at.
    """
    edit: dict[str, Any] = {} if part is None else {"images": part.image, "mask": part.mask}
    events: queue.SimpleQueue = queue.SimpleQueue()
    closed = threading.Event()
    stepwise = isinstance(pipeline.sampler(**wanted.options), StepwiseSampler)

    def seen(step: SamplingStep) -> None:
        if closed.is_set():
            raise CancelledError
        events.put(step)

    def run() -> None:
        try:
            captions = [wanted.caption] * wanted.count
            options = edit | {"word_maps": no_words(pipeline, wanted.caption) is None} | wanted.options
            events.put(pipeline(captions, wanted.seeds, callback=seen if stepwise else None, **options))
        except BaseException as error:  # told where the events are read
            events.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        while True:
            event = events.get()
            if isinstance(event, BaseException):
                raise event
            yield event
            if isinstance(event, Drawing):
                return
    finally:
        closed.set()


def drawn(drawing: Drawing) -> list[Image.Image]:
    """What a model drew, as PIL images."""
    return cast(list[Image.Image], drawing.images)


def in_order(step: SamplingStep) -> list[Image.Image]:
    """A step's images, as the captions stand."""
    return [image for _, image in sorted(zip(step.rows, step.images(), strict=True), key=lambda pair: pair[0])]


def no_words(pipeline: Pipeline, caption: str) -> str | None:
    """Why there are no word maps of a caption; None if there are."""
    try:
        check_words(pipeline.model.ema, [caption])
    except UserError as error:
        return str(error)
    return None


def word_maps(drawing: Drawing) -> list[tuple[str, Image.Image]]:
    """The words of a caption, each with the first image under its map."""
    view, found = enlarge(drawn(drawing)[0]), cast(WordMap, drawing.word_maps[0])
    return [(word, heat_map(view, found.of(number))) for number, word in enumerate(found.words)]


def unknown_words(pipeline: Pipeline, caption: str) -> Sequence[str]:
    """Words of a caption that a model never saw, if it counts words."""
    tokenizer = pipeline.model.ema.text_tokenizer
    return tokenizer.unknown_words(caption) if isinstance(tokenizer, Vocabulary) else []


def strip(images: Sequence[Image.Image]) -> Image.Image:
    """Images of one size side by side on white, enlarged by a whole factor."""
    views = [enlarge(image, max(SIDE // min(image.size), 1) * min(image.size)) for image in images]
    width, height = views[0].size
    sheet = Image.new("RGB", ((width + GAP) * len(views) - GAP, height), "white")
    for place, view in enumerate(views):
        sheet.paste(view, (place * (width + GAP), 0))
    return sheet


def first_of(sheet: Image.Image, count: int) -> Image.Image:
    """The first of ``count`` images on a strip."""
    return sheet.crop((0, 0, (sheet.width + GAP) // count - GAP, sheet.height))


def files(parts: Mapping[str, Part]) -> dict[str, tuple[str, str]]:
    """By model the names of the files, to be saved from the page, of its image and mask: one pair for each size."""
    sizes = {part.image.size for part in parts.values()}
    ends = {size: f"_{size[0]}x{size[1]}" if len(sizes) > 1 else "" for size in sizes}
    return {name: (f"image{ends[part.image.size]}", f"mask{ends[part.image.size]}") for name, part in parts.items()}


def reproduction(
    names: Sequence[str], wanted: Wanted, saved: Mapping[str, tuple[str, str]] | None = None
) -> tuple[str, str]:
    """The command lines and the Python that draw what is seen.

    Args:
        names: Of the models, as they were given.
        wanted: What is asked.
        saved: By model the :func:`files` of the image and the mask, if a part of an image was drawn anew.
    """
    flags: dict[str, object] = {
        "--seed": wanted.seed,
        "--count": wanted.count if wanted.count > 1 else None,
        "--preset": wanted.preset,
    }
    flags |= {"--guidance": wanted.guidance, "--steps": wanted.steps}
    what = repr(wanted.caption) if wanted.count == 1 else f"[{wanted.caption!r}] * {wanted.count}"
    options = {"seeds": wanted.seeds, **wanted.options}
    lines: list[str] = []
    code = [*(["from PIL import Image", ""] if saved else []), "from jepa_t import Pipeline", ""]
    for number, name in enumerate(names, 1):
        own: dict[str, object] = {}
        variable = "images"
        given = [f"{option}={value!r}" for option, value in options.items()]
        if saved:
            image, mask = (f"{file}.png" for file in saved[name])
            own |= {"--image": image, "--mask": mask}
            given += [f"images=Image.open({image!r})", f"mask=Image.open({mask!r})"]
        if len(names) > 1:
            own |= {"--out": f"samples_{number}"}
            variable = f"images_{number}"
        words = [word for flag, value in (flags | own).items() if value is not None for word in (flag, str(value))]
        lines.append(shlex.join(["jepa-t", "sample", name, *words, "--", wanted.caption]))
        code += [f"draw = Pipeline.from_pretrained({name!r})", f"{variable} = draw({what}, {', '.join(given)}).images"]
    return "\n".join(lines), "\n".join(code) + "\n"
