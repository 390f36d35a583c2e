"""Captions in, images out; and a trained model as a folder of two files."""

import json
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import NoneType
from typing import Any

import torch

from . import hub
from .acceleration import HALF, check_dtype
from .annotations import check_argument
from .card import Card, pass_on
from .contracts import Sampler
from .drawing import Drawing, Request, SamplingStep, check_precision, check_sampler, joined
from .editing import Edit
from .errors import UserError, check_function, check_integer, unknown
from .model import JEPAT
from .randomness import SEEDS, checked_seeds
from .regions import Regions
from .sampling import MaskedSampler, sampler_config, sampler_for
from .saved import find_model, in_precision, load_model, read_card, read_sheet, write_model
from .structures import Between, Caption, Seed, ends
from .tokenizers.encoding import check_caption, texts_of
from .words import check_words

OUTPUTS = ("pil", "tensor")


class Pipeline:
    """A trained model with the averaged weights, ready to draw.

    Drawing changes nothing in it, so threads may share one.

    Args:
        model: The model.
        config: The config it was built from, plain data; needed to save it.
        card: The text of its model card, which goes along when it is saved.

    Examples:
        >>> draw = Pipeline.from_pretrained("emoji")
        >>> draw("a fox", seeds=[0], guidance_scale=2.0).images[0].size
        (64, 64)
        >>> trained = Pipeline.from_pretrained("work_dirs/jepat_digits")  # doctest: +SKIP
    """

    def __init__(self, model: JEPAT, config: dict[str, Any] | None = None, card: str | None = None) -> None:
        self.model, self.config, self.card = model, config, card
        self._sheet: bytes | None = None  # of the card

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        config: dict[str, Any] | None = None,
        device: str = "auto",
        revision: str | None = None,
    ) -> "Pipeline":
        """Read a training's checkpoint or work dir, a folder written by :meth:`save_pretrained`, or a shared model.

        Nothing in the files is executed. Components are found by their registered names; those that a file
        names by a dotted path are refused, since importing it would run code.

        Args:
            path: A ``.pth`` file, a work dir (its newest checkpoint) or a saved folder; the name of a model that comes
                with the library, such as ``emoji``; or ``user/model`` on the hub. The first of these that is there.
            config: The model's config, if it is to be taken from elsewhere than the file; it is trusted.
            device: ``cpu``, ``cuda``, or ``auto``: a GPU if there is one.
            revision: Of a model on the hub: a branch, a tag or a commit.

        Raises:
            UserError: A file is absent, damaged, of another config, or refused; or the hub hasn't it.
        """
        found = find_model(path, revision)
        model, plain = load_model(found, config)
        if not isinstance(device, (str, torch.device)):
            raise UserError(f"device is {device!r}; give 'auto', or a name such as 'cuda:0'")
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        made = cls(model, plain, read_card(found))
        made._sheet = read_sheet(found)
        return made.to(chosen)

    def to(
        self, device: str | torch.device | torch.dtype | None = None, dtype: torch.dtype | None = None
    ) -> "Pipeline":
        """Move the model, in place, to a device, and its weights to a precision; the same pipeline.

        With ``torch.bfloat16`` or ``torch.float16`` what draws is computed in half precision. The tokenizers, which
        run once per image, stay in float32. A precision alone may stand in the place of the device.

        Raises:
            UserError: The device can't be used, or the precision is another.
        """
        if isinstance(device, torch.dtype) and dtype is None:
            device, dtype = None, device
        check_dtype(dtype)
        if device is not None and not isinstance(device, (str, torch.device)):
            raise UserError(f"device is {device!r}; give a name, such as 'cuda:0', or a torch.device")
        try:
            self.model.to(device)
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"device {device!r} can't be used: {str(error).splitlines()[0]}") from error
        for network in (self.model.network, self.model.ema):
            for part in (network.encoder, network.predictor, network.fusion, network.objectives):
                part.to(dtype)
        return self

    def save_pretrained(
        self,
        folder: str | Path,
        dtype: torch.dtype | None = None,
        card: Card | None = None,
        name: str | None = None,
    ) -> None:
        """Write ``config.json`` and ``model.safetensors`` (the averaged weights) into a folder.

        Args:
            folder: Where.
            dtype: Precision of the numbers in the file: ``torch.float32``, or ``torch.float16`` or ``torch.bfloat16``,
                which halve it; by default theirs.
            card: What to write into ``README.md``; by default the card that the model came with, if it had one, with a
                line that says what of it is another's.
            name: By which others load it, for that line; by default the folder's.

        Raises:
            UserError: The pipeline was made from a model without its config, or that isn't plain data; the precision
                is another, or holds a weight no more; or the folder can't be written.
        """
        from .files import state_hash

        check_dtype(dtype)
        if not isinstance(card, (Card, NoneType)):
            raise UserError(f"card is {card!r}; give a Card, such as Card(data='...', licence='...')")
        if self.config is None:
            raise UserError("Pipeline(model) knows no config to save; give the model's as Pipeline(model, config)")
        try:
            plain = json.dumps(self.config, indent=2).encode()
        except TypeError as error:
            raise UserError(f"a saved model's config is plain data: {error}; name components as registered") from error
        state = self.model.state_dict()
        kept = {name: value for name, value in state.items() if not name.startswith("network.")}
        kept = {name: in_precision(name, value, dtype) for name, value in kept.items()}
        write_model(folder, kept, plain)
        if card is not None:
            card.write(folder, type(self).from_pretrained(folder, device="cpu"))
        elif self.card is not None:
            averaged = {key[4:]: value for key, value in kept.items() if key.startswith("ema.")}
            read = {key: value.float() if value.dtype in HALF else value for key, value in averaged.items()}
            pass_on(self.card, folder, name or Path(folder).resolve().name, state_hash(read), self._sheet)

    def push_to_hub(
        self,
        repo: str,
        card: Card | None = None,
        dtype: torch.dtype | None = None,
        private: bool | None = None,
        revision: str | None = None,
    ) -> str:
        """Share the model: what :meth:`save_pretrained` writes, as one commit to a repository on the hub.

        Args:
            repo: ``user/model``; it is made if there is none.
            card: What the model card says; by default the card that the model came with, or the one that the repository
                has, or one without data, licence and figures.
            dtype: As :meth:`save_pretrained`.
            private: Whether a new repository is private; by default as the user's account has it.
            revision: A branch, which is made if there is none; by default the main one.

        Returns:
            The repository's address.

        Raises:
            UserError: The name is none, the token is refused, the hub can't be reached, or as :meth:`save_pretrained`.
        """
        hub.check_name(repo)
        hub.check_revision(revision)
        plain = card is None and self.card is None
        card = Card() if plain else card
        with tempfile.TemporaryDirectory(prefix="jepa_t_") as folder:
            self.save_pretrained(folder, dtype, None if card is None else replace(card, name=card.name or repo), repo)
            return hub.push(folder, repo, private, revision, keep_card=plain)

    def sampler(self, **changes: Any) -> Sampler:
        """The model's sampler with changes, as :meth:`__call__` takes them; None changes nothing.

        Raises:
            UserError: An option is wrong, or the model's sampler was given as an object, which takes none.
        """
        for name in ("sampler", "objective"):
            if name in changes:
                raise UserError(f"{name} is no option here; give preset='fast', or single options such as steps=16")
        if all(value is None for value in changes.values()):
            return self.model.sampler
        own, objective = self.model.sampler, self.model.network.generative
        given = (self.config or {}).get("sampler")
        if type(own) is MaskedSampler:
            given = {option.name: getattr(own, option.name) for option in fields(own)}
        elif given is None:
            raise UserError(f"{type(own).__name__} was given as an object, which takes no options; give another object")
        return sampler_for(objective, sampler_config(given, objective=objective, **changes))

    def __call__(
        self,
        captions: str | Iterable[Caption],
        seeds: Sequence[Seed] | None = None,
        *,
        negative: str | Sequence[str] | None = None,
        images: Any = None,
        mask: Any = None,
        regions: Any = None,
        callback: Callable[[SamplingStep], object] | None = None,
        trajectory: bool = False,
        word_maps: bool = False,
        output: str = "pil",
        batch_size: int = 64,
        progress: Callable[[int], object] = lambda _done: None,
        **sampler: Any,
    ) -> Drawing:
        """Draw one image per caption.

        Args:
            captions: A text, or several.
            seeds: A whole number in [0, 2^32) for each caption; an image depends on its caption, its seed and the
                sampler's options alone. By default they are drawn at random, and stand in what is returned.
            negative: A caption that guidance leads away from, in place of the null text; or one for each caption.
            images: An image to change, a PIL image or a tensor ``[3, H, W]`` in [-1, 1]; or one for each caption.
                Needs ``mask``.
            mask: Where an image is drawn anew, white or True: a PIL image, an array or a tensor ``[H, W]``; or one for
                each caption; or a share of the tokens in [0, 1], which the seed chooses. A token is drawn anew if any
                of its pixels is; all others stay.
            regions: Captions of parts of the images, pairs such as ``[("a red heart", mask)]``, or such pairs for each
                caption; without a pair there are none. A mask says by the rule of ``mask`` which tokens follow its
                caption in place of the image's; later regions lie over earlier ones.
            callback: Called after each sampling step with what there is. What it raises ends the call. With
                ``mask=0`` nothing is drawn, so there is no step.
            trajectory: Whether all steps stand in what is returned.
            word_maps: Whether it says also where in its caption each image looked (:class:`~jepa_t.words.WordMap`).
            output: ``pil``, or ``tensor`` for ``[B, 3, H, W]`` in [-1, 1].
            batch_size: Images drawn at once.
            progress: Called after each batch with its size.
            **sampler: Options of the sampler to change, such as ``steps=16``, ``guidance_scale=2.0`` or
                ``draw=dict(solver_steps=8)``; ``preset="fast"`` changes all that the preset sets.

        Raises:
            UserError: A caption is empty, too long, or has no word that the model knows; seeds are too few, too many
                or no such numbers; images and masks don't fit the model or each other; the sampler can't do what is
                asked; or an option is wrong. All of it is told before anything is drawn.
        """
        check_function("progress", progress, "number of images")
        given = {"negative": negative, "images": images, "mask": mask, "regions": regions, "trajectory": trajectory}
        given |= {"callback": callback, "word_maps": word_maps, "output": output, **sampler}
        asked = self._request(captions, seeds, **given)
        parts = []
        for part in asked.batches(self.model, check_integer("batch_size", batch_size)):
            parts.append(part)
            progress(len(part.captions))
        return joined(parts, asked)

    def stream(
        self,
        captions: str | Iterable[Caption],
        seeds: Sequence[Seed] | None = None,
        *,
        batch_size: int = 64,
        **options: Any,
    ) -> Iterator[Drawing]:
        """Draw as :meth:`__call__`, a batch each time that the next is asked for: memory doesn't grow with the list.

        All mistakes are told at once, when it is called.

        Args:
            captions: A text, or several.
            seeds: As of :meth:`__call__`.
            batch_size: Images drawn at once.
            **options: All others of :meth:`__call__` but ``progress``.
        """
        asked = self._request(captions, seeds, **options)
        return asked.batches(self.model, check_integer("batch_size", batch_size))

    def interpolate(
        self, captions: str | Sequence[str], seeds: Sequence[int] | None = None, frames: int = 8, **options: Any
    ) -> Drawing:
        """Draw the way between two captions, between two seeds, or both, in steps of equal length.

        The text is mixed linearly, the noise on a circle, so that it stays normal; both ends are the plain images.

        Args:
            captions: A text, or two.
            seeds: A number, or two, as a list; by default random ones, two where there is one caption.
            frames: How many images, at least 2, both ends among them.
            **options: As :meth:`__call__`.

        Raises:
            UserError: As :meth:`__call__`, or there are more or fewer ends.
        """
        check_integer("frames", frames, 2)
        texts = texts_of("captions", captions)
        if len(texts) not in (1, 2):
            raise UserError(f"{len(texts)} captions to go between; give one or two of them")
        drawn = [secrets.randbelow(SEEDS) for _ in range(3 - len(texts))] if seeds is None else seeds
        numbers = checked_seeds(drawn, None)
        if (len(texts), len(numbers)) not in ((1, 2), (2, 1), (2, 2)):
            raise UserError(f"{len(texts)} captions and {len(numbers)} seeds; give one or two of each, not one of both")
        shares = [frame / (frames - 1) for frame in range(frames)]
        ways: list[list[Any]] = [
            [Between(ends[0], ends[1], share) if len(ends) == 2 else ends[0] for share in shares]
            for ends in (texts, numbers)
        ]
        return self(ways[0], ways[1], **options)

    def _request(
        self,
        captions: str | Iterable[Caption],
        seeds: Sequence[Seed] | None,
        *,
        negative: str | Sequence[str] | None = None,
        images: Any = None,
        mask: Any = None,
        regions: Any = None,
        callback: Callable[[SamplingStep], object] | None = None,
        trajectory: bool = False,
        word_maps: bool = False,
        output: str = "pil",
        **sampler: Any,
    ) -> Request:
        """All that is asked for, checked."""
        check_precision(self.model.image_tokenizer)  # here too, since images to change are encoded before drawing
        captions = [captions] if isinstance(captions, Between) else texts_of("captions", captions)
        check_function("callback", print if callback is None else callback, "SamplingStep")
        for name, flag in (("trajectory", trajectory), ("word_maps", word_maps)):
            check_argument(name, flag, bool, "Pipeline")
        if output not in OUTPUTS:
            raise unknown("output", output, OUTPUTS)
        drawn = [secrets.randbelow(SEEDS) for _ in captions] if seeds is None else seeds
        chosen, numbers = self.sampler(**sampler), checked_seeds(drawn, len(captions))
        away = None if negative is None else texts_of("negative", negative)
        away = away * len(captions) if away is not None and isinstance(negative, str) else away
        if away is not None and len(away) != len(captions):
            raise UserError(f"{len(captions)} captions and {len(away)} negative; give one for all, or one for each")
        edit, watched = Edit.of(images, mask, numbers, self.model.image_tokenizer), callback is not None or trajectory
        check_sampler(chosen, self.model.ema.generative, away is not None, watched, edit is not None)
        laid_out = Regions.of(regions, captions, self.model)
        asked = captions if laid_out is None else dict.fromkeys(text for each in laid_out.captions for text in each)
        for text in [*(end for caption in asked for end in ends(caption)), *(away or [])]:
            check_caption(self.model.ema.text_tokenizer, text)
        if word_maps:
            check_words(self.model.ema, captions, laid_out is not None)
        return Request(captions, numbers, chosen, away, edit, laid_out, callback, trajectory, word_maps, output)
