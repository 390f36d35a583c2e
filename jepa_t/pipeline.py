"""Captions in, images out; and a trained model as a folder of two files."""

import json
import logging
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import Registry
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from . import registry
from .errors import UserError, unknown
from .model import JEPAT
from .sampling import sampler_config

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Pipeline:
    """A trained model with the averaged weights, ready to draw.

    Args:
        model: The model.
        config: The config it was built from, plain data.
    """

    def __init__(self, model: JEPAT, config: dict[str, Any]) -> None:
        self.model, self.config = model.eval(), config

    @classmethod
    def load(cls, path: str | Path, config: dict[str, Any] | None = None, device: str = "auto") -> "Pipeline":
        """Read a training's checkpoint or work dir, or a folder written by :meth:`save`.

        Nothing in the files is executed. Components are found by their registered names; those that a file
        names by a dotted path are refused, since importing it would run code.

        Args:
            path: A ``.pth`` file, a work dir (its newest checkpoint), or a saved folder.
            config: The model's config, if it is to be taken from elsewhere than the file; it is trusted.
            device: ``cpu``, ``cuda``, or ``auto``: a GPU if there is one.

        Raises:
            UserError: A file is absent, damaged, of another config, or refused.
        """
        weights, found = _read(Path(path).expanduser())
        if config is None:
            if not isinstance(found, dict):
                raise UserError(f"checkpoint '{path}' holds no config; give the config file it was trained with")
            registry.load_plugins()
            _trust(found)
        plain = config or found
        model = registry.build(plain, registry.MODELS)
        if not isinstance(model, JEPAT):
            raise UserError(f"'{path}' holds a {type(model).__name__}, which draws nothing; give a trained JEPAT")
        _fill(model, weights, str(path))
        try:
            model = model.to(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"device {device!r} can't be used: {str(error).splitlines()[0]}") from error
        return cls(model, plain)

    def save(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` (the averaged weights) into a folder."""
        from safetensors.torch import save

        from .files import write_atomically

        state = self.model.state_dict()
        kept = {name: value.contiguous() for name, value in state.items() if not name.startswith("network.")}
        write_atomically(Path(folder) / WEIGHTS, lambda file: file.write(save(kept)))
        write_atomically(Path(folder) / CONFIG, lambda file: file.write(json.dumps(self.config, indent=2).encode()))

    def settings(self, **sampler: Any) -> dict[str, Any]:
        """The sampler's options with changes, as :meth:`__call__` takes them; None changes nothing."""
        return sampler_config(self.config.get("sampler", "balanced"), draw=self.model.network.draw, **sampler)

    def __call__(
        self,
        captions: Sequence[str],
        seeds: Sequence[int],
        batch_size: int = 64,
        progress: Callable[[int], object] = lambda _done: None,
        **sampler: Any,
    ) -> list[Image.Image]:
        """Draw one image per caption.

        Args:
            captions: B texts.
            seeds: B numbers; an image depends on its caption, seed and the sampler's options alone.
            batch_size: Images drawn at once.
            progress: Called after each batch with its size.
            **sampler: Options of the sampler to change, such as ``steps=16`` or ``guidance_scale=2.0``.

        Raises:
            UserError: A caption is empty, too long, or has no word that the model knows; an option is wrong.
        """
        for caption in captions:
            self._check(caption)
        self.model.sample_with(self.settings(**sampler))
        images: list[Image.Image] = []
        for start in range(0, len(captions), batch_size):
            chunk = slice(start, start + batch_size)
            images += map(to_image, self.model.generate(captions[chunk], seeds[chunk]))
            progress(len(captions[chunk]))
        return images

    def _check(self, caption: str) -> None:
        tokenizer = self.model.ema.text_tokenizer
        tokenizer.ids([caption])
        strange = tokenizer.unknown_words(caption) if hasattr(tokenizer, "unknown_words") else []
        if strange and len(strange) == len(caption.split()):
            raise UserError(f"the caption {caption!r} has no word that this model was trained on")
        if strange:
            logging.getLogger("jepa_t").warning(
                "%r: the model was never trained on %s", caption, ", ".join(map(repr, strange))
            )


def to_bytes(images: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8, rounded to the nearest; uint8 stays."""
    return images if images.dtype == torch.uint8 else images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def to_image(image: Tensor) -> Image.Image:
    """An image ``[3, H, W]`` in [-1, 1] as a PIL image."""
    return Image.fromarray(to_bytes(image).permute(1, 2, 0).cpu().numpy())


def enlarge(image: Image.Image, side: int = 128) -> Image.Image:
    """Small images by a whole factor, each pixel a square, until no side is below ``side``."""
    factor = -(-side // min(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def contact_sheet(images: Sequence[Image.Image], captions: Sequence[str], columns: int = 4) -> Image.Image:
    """Images of one size in rows, each above its caption."""
    font, margin, line = ImageFont.load_default(12), 8, 15
    width, height = images[0].size
    texts = [textwrap.wrap(caption, max(width // 6, 8)) or [""] for caption in captions]
    cell = width + margin, height + line * max(map(len, texts)) + 2 * margin
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (cell[0] * columns + margin, cell[1] * rows + margin), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (image, text) in enumerate(zip(images, texts, strict=True)):
        row, column = divmod(index, columns)
        x, y = margin + column * cell[0], margin + row * cell[1]
        sheet.paste(image, (x, y))
        draw.rectangle((x - 1, y - 1, x + width, y + height), outline="grey")
        draw.multiline_text((x, y + height + 2), "\n".join(text), fill="black", font=font, spacing=2)
    return sheet


def _read(path: Path) -> tuple[dict[str, Tensor], Any]:
    """The weights and the model's config in a checkpoint, a work dir or a saved folder."""
    from .files import find_checkpoint, load_checkpoint

    if not (path / CONFIG).is_file():
        checkpoint = load_checkpoint(find_checkpoint(str(path)))
        return checkpoint.get("state_dict", checkpoint), checkpoint.get("meta", {}).get("model")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path / WEIGHTS), json.loads((path / CONFIG).read_text())
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"folder '{path}' holds no whole model: {error}") from error


def _fill(model: JEPAT, weights: dict[str, Tensor], path: str) -> None:
    """Load weights; a saved folder has the averaged ones alone, which then serve as both."""
    from .files import check_weights

    copied = {name.replace("ema.", "network.", 1): value for name, value in weights.items()}
    weights = copied | weights
    check_weights(model.state_dict(), weights, path)
    model.load_state_dict(weights)


def _trust(config: Any) -> None:
    """Let only registered names pass as ``type``.

    Raises:
        UserError: Something else is named.
    """
    if isinstance(config, (list, tuple)):
        for item in config:
            _trust(item)
    if not isinstance(config, dict):
        return
    ours = [r for r in vars(registry).values() if isinstance(r, Registry)]
    for own in ours:
        own.import_from_location()
    known = {name for own in ours for name in own.module_dict}
    if "type" in config and config["type"] not in known:
        raise UserError(
            f"{unknown('component', config['type'], known)}; for a component of your own, give the config file"
        )
    for item in config.values():
        _trust(item)
