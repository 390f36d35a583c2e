"""Captions in, images out; and a trained model as a folder of two files."""

import json
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from .contracts import Sampler, Vocabulary
from .errors import UserError, check_integer
from .model import JEPAT
from .randomness import SEEDS, checked_seeds
from .sampling import MaskedSampler, sampler_config, sampler_for
from .saved import CONFIG, WEIGHTS, load_model
from .sheets import to_image


@dataclass(frozen=True)
class Drawing:
    """What a pipeline drew, with all that it depends on.

    Attributes:
        images: One PIL image per caption.
        captions: What was asked for.
        seeds: Of each image; an image depends on its caption, its seed and the sampler alone.
        sampler: The sampler that drew them.
    """

    images: list[Image.Image]
    captions: list[str]
    seeds: list[int]
    sampler: Sampler


class Pipeline:
    """A trained model with the averaged weights, ready to draw.

    Drawing changes nothing in it, so threads may share one.

    Args:
        model: The model.
        config: The config it was built from, plain data; needed to save it.

    Example:
        >>> draw = Pipeline.from_pretrained("work_dirs/jepat_digits")  # doctest: +SKIP
        >>> draw("a red three", seeds=[0], guidance_scale=2.0).images[0].save("three.png")  # doctest: +SKIP
    """

    def __init__(self, model: JEPAT, config: dict[str, Any] | None = None) -> None:
        self.model, self.config = model, config

    @classmethod
    def from_pretrained(
        cls, path: str | Path, config: dict[str, Any] | None = None, device: str = "auto"
    ) -> "Pipeline":
        """Read a training's checkpoint or work dir, or a folder written by :meth:`save_pretrained`.

        Nothing in the files is executed. Components are found by their registered names; those that a file
        names by a dotted path are refused, since importing it would run code.

        Args:
            path: A ``.pth`` file, a work dir (its newest checkpoint), a saved folder, or the name of a model that comes
                with the library, such as ``emoji``.
            config: The model's config, if it is to be taken from elsewhere than the file; it is trusted.
            device: ``cpu``, ``cuda``, or ``auto``: a GPU if there is one.

        Raises:
            UserError: A file is absent, damaged, of another config, or refused.
        """
        model, plain = load_model(path, config)
        try:
            model = model.to(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"device {device!r} can't be used: {str(error).splitlines()[0]}") from error
        return cls(model, plain)

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors`` (the averaged weights) into a folder.

        Args:
            folder: Where.
            dtype: Precision of the numbers in the file, such as ``torch.float16``, which halves it; by default theirs.

        Raises:
            UserError: The pipeline was made from a model without its config, or that isn't plain data.
        """
        from .files import write_atomically, write_weights

        if self.config is None:
            raise UserError("Pipeline(model) knows no config to save; give the model's as Pipeline(model, config)")
        try:
            plain = json.dumps(self.config, indent=2).encode()
        except TypeError as error:
            raise UserError(f"a saved model's config is plain data: {error}; name components as registered") from error
        state = self.model.state_dict()
        kept = {name: value for name, value in state.items() if not name.startswith("network.")}
        kept = {name: value.to(dtype) if value.is_floating_point() else value for name, value in kept.items()}
        write_weights(Path(folder) / WEIGHTS, kept)
        write_atomically(Path(folder) / CONFIG, lambda file: file.write(plain))

    def sampler(self, **changes: Any) -> Sampler:
        """The model's sampler with changes, as :meth:`__call__` takes them; None changes nothing.

        Raises:
            UserError: An option is wrong, or the model's sampler was given as an object, which takes none.
        """
        if all(value is None for value in changes.values()):
            return self.model.sampler
        own, objective = self.model.sampler, self.model.network.generative
        given = (self.config or {}).get("sampler")
        if type(own) is MaskedSampler:
            given = {option.name: getattr(own, option.name) for option in fields(own)}
            if changes.get("order") not in (None, own.order):
                given["choice_temperature"] = None  # which belongs to one order alone
        elif given is None:
            raise UserError(f"{type(own).__name__} was given as an object, which takes no options; give another object")
        return sampler_for(objective, sampler_config(given, objective=objective, **changes))

    def __call__(
        self,
        captions: str | Iterable[str],
        seeds: Sequence[int] | None = None,
        batch_size: int = 64,
        progress: Callable[[int], object] = lambda _done: None,
        **sampler: Any,
    ) -> Drawing:
        """Draw one image per caption.

        Args:
            captions: A text, or several.
            seeds: A whole number in [0, 2^32) for each caption; an image depends on its caption, its seed and the
                sampler's options alone. By default they are drawn at random, and stand in what is returned.
            batch_size: Images drawn at once.
            progress: Called after each batch with its size.
            **sampler: Options of the sampler to change, such as ``steps=16``, ``guidance_scale=2.0`` or
                ``draw=dict(solver_steps=8)``.

        Raises:
            UserError: A caption is empty, too long, or has no word that the model knows; seeds are too few, too many
                or no such numbers; or an option is wrong. All of it is told before anything is drawn.
        """
        captions = [captions] if isinstance(captions, str) else list(captions)
        check_integer("batch_size", batch_size)
        drawn = [secrets.randbelow(SEEDS) for _ in captions] if seeds is None else seeds
        chosen, numbers = self.sampler(**sampler), checked_seeds(drawn, len(captions))
        for caption in captions:
            self._check(caption)
        images: list[Image.Image] = []
        for start in range(0, len(captions), batch_size):
            chunk = slice(start, start + batch_size)
            images += map(to_image, self.model.generate(captions[chunk], numbers[chunk], chosen))
            progress(len(captions[chunk]))
        return Drawing(images, captions, numbers, chosen)

    def _check(self, caption: str) -> None:
        tokenizer = self.model.ema.text_tokenizer
        tokenizer.ids([caption])
        strange = tokenizer.unknown_words(caption) if isinstance(tokenizer, Vocabulary) else []
        if strange and len(strange) == len(caption.split()):
            raise UserError(f"the caption {caption!r} has no word that this model was trained on")
        if strange:
            logging.getLogger("jepa_t").warning(
                "%r: the model was never trained on %s", caption, ", ".join(map(repr, strange))
            )
