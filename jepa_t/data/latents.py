"""Latents of whole data sets, from the disk: what a frozen autoencoder says of each image, computed once."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import get_worker_info

from ..contracts import ImageTokenizer, LatentImageTokenizer, TextTokenizer
from ..errors import UserError, first_line
from ..registry import DATASETS, build
from .broken import BrokenSample, Tally, candidates
from .class_captions import Captions
from .imagenet import LabelCaptions
from .latent_cache import SETTINGS, Cache, options_of
from .own_captions import OwnCaptions
from .sets import TrainingSet
from .storage import MappedFiles, PackedTexts

AGREE = ("type", "split", "size")  # options of the images that a cache must have been made with


@DATASETS.register_module()
class CachedLatents(TrainingSet):
    """Latents from a cache where a whole one is there, and images where not; the log says which.

    Sample i is of the same image, mirrored or not, with the same caption, either way; so a training goes on where
    it was if the cache comes or goes. From the cache, ``inputs`` is ``{"moments": [B, 2C, h, w]}`` in fp16: mean and
    log-variance, from which the tokenizer draws.

    Args:
        folder: Where the cache lies, or will.
        dataset: Config of the data set of images. Its names and sentences of classes count, not those of the time of
            the cache; captions of one's own are the cache's. With it, the images themselves needn't be there.
        device: ``cpu`` maps the shards into memory and reads what is asked; another, such as ``cuda``, holds all of
            them there, read by the training process itself (``num_workers=0``, no ``pin_memory``).

    Attributes:
        source: What is read, the latents or the images.

    Raises:
        UserError: A shard is damaged, the cache is of other images, or the device hasn't the memory.
    """

    def __init__(self, folder: str, dataset: dict, device: str = "cpu") -> None:
        name = str(Path(folder).expanduser())
        cache = Cache(name) if (Path(name) / SETTINGS).is_file() else None
        if cache is None or cache.absent:
            why = f"lacks {len(cache.absent)} shards, such as {cache.absent[0]}" if cache else "isn't there"
            print_log(f"the cache of latents {name!r} {why}; reading images", "current")
            self.source: TrainingSet = build(dict(dataset), DATASETS)
            return
        made = cache.settings["images"]
        place = made.get("root", made.get("source"))
        print_log(f"reading the cache of latents {name!r}: {cache.settings['count']} images of {place!r}", "current")
        self.source = Latents(cache, options_of(dataset), device)

    @property
    def captions(self) -> list[str]:
        """Captions that stand for all of them."""
        return self.source.captions

    @property
    def images(self) -> Tensor | None:
        """A sample of the images to fit a tokenizer on; None from the cache, which is of one that isn't fitted."""
        return self.source.images

    def check(self, image_tokenizer: ImageTokenizer, text_tokenizer: TextTokenizer) -> None:
        """See that these two can read the latents, or the images.

        Raises:
            UserError: They can't.
        """
        self.source.check(image_tokenizer, text_tokenizer)

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, indices: list[int]) -> dict:
        """A batch: ``inputs``, of moments or images, and ``data_samples`` with the ``caption`` list."""
        return self.source.__getitems__(indices)


class Latents(TrainingSet):
    """The latents of a whole cache.

    Args:
        cache: The cache.
        options: All options of the data set of images.
        device: As in :class:`CachedLatents`.

    Raises:
        UserError: The cache is of other images, or the device hasn't the memory.
    """

    images = None

    def __init__(self, cache: Cache, options: Mapping[str, Any], device: str) -> None:
        settings, made = cache.settings, cache.settings["images"]
        for key in AGREE:
            if options.get(key) != made.get(key, options.get(key)):
                of = f"of images of {key}={made[key]!r}, not {options.get(key)!r}"
                raise UserError(f"the cache {str(cache.folder)!r} is {of}")
        self.cache, self.count, self.flip, self.seed = cache, settings["count"], options["flip"], options["seed"]
        self.tally = Tally(options["report"], options["max_broken"])
        shards, (channels, *sides) = list(cache.shards.values()), settings["tokenizer"]["shape"]
        self.files = MappedFiles([cache.folder / f"{name}.bin" for name in cache.shards], "<f2", (2, channels, *sides))
        broken = [entry["number"] for shard in shards for entry in shard["broken"]]
        self.sound = np.setdiff1d(np.arange(self.count), broken, assume_unique=True)  # image of each row
        self.starts = np.searchsorted(self.sound, np.arange(len(shards)) * settings["shard"])  # first row of each file
        self.describe = self._described([fact for shard in shards for fact in shard[settings["kind"]]], options)
        cache.shards.clear()  # names and captions by the million, which every worker would be sent or copy
        self.held = None if device == "cpu" else self._hold(device)

    def _described(self, facts: list, options: Mapping[str, Any]) -> LabelCaptions | OwnCaptions:
        """Captions by row."""
        if self.cache.settings["kind"] == LabelCaptions.kind:
            captions = Captions(options["names"], options["templates"], self.seed)
            names, labels = len(captions.names), max(facts, default=-1) + 1
            if names != labels:
                where = f"the cache {str(self.cache.folder)!r} has {labels} classes"
                raise UserError(f"{where} and names has {names}; give one name for each")
            return LabelCaptions(facts, captions)
        packed = PackedTexts(json.dumps(captions, ensure_ascii=False) for captions in facts)
        return OwnCaptions(_Packed(packed), packed.sizes, self.seed)

    def _hold(self, device: str) -> Tensor:
        """All moments ``[rows, 2, 2C, h, w]`` on the device."""
        shape = (len(self.sound), *self.files.shape)
        try:
            held = torch.empty(shape, dtype=torch.float16, device=device)
        except (RuntimeError, AssertionError) as error:  # no memory; no such device, or a PyTorch without CUDA
            size, why = 2 * math.prod(shape) / 2**30, first_line(error)
            raise UserError(f"CachedLatents device={device!r} can't hold {size:.1f} GiB: {why}; use 'cpu'") from error
        for file, (start, end) in enumerate(zip(self.starts, [*self.starts[1:], len(held)], strict=True)):
            if start < end:
                held[start:end] = torch.from_numpy(np.array(self.files[file]))
        return held

    @property
    def captions(self) -> list[str]:
        """Captions that stand for all of them."""
        return self.describe.covering()

    def check(self, image_tokenizer: ImageTokenizer, text_tokenizer: TextTokenizer) -> None:
        """See that the cache is of this image tokenizer.

        Raises:
            UserError: It is of another, or of another size.
        """
        if not isinstance(image_tokenizer, LatentImageTokenizer):
            name = type(image_tokenizer).__name__
            raise UserError(f"cached latents need a KLTokenizer, model.image_tokenizer is a {name}")
        self.cache.check(image_tokenizer.identity)
        self.describe.read_by(text_tokenizer)

    def __len__(self) -> int:
        return self.count * (2 if self.flip else 1)

    def __getitems__(self, indices: list[int]) -> dict:
        """A batch: ``inputs["moments"] [B, 2C, h, w]`` and ``data_samples`` with the ``caption`` list."""
        rows = [next(self._rows(index)) for index in indices]
        try:
            captions = self.describe(rows, indices)
        except BrokenSample:
            rows, captions = map(list, zip(*map(self._sample, indices), strict=True))
        self.tally.read += len(rows)
        mirrored = [int(index >= self.count) for index in indices]
        return {"inputs": {"moments": self._moments(rows, mirrored)}, "data_samples": {"caption": captions}}

    def _rows(self, index: int) -> Iterator[int]:
        """The row of a sample, and of those that stand in for it."""
        for number in candidates(self.seed, index, self.count):
            row = int(np.searchsorted(self.sound, number))
            if row < len(self.sound) and self.sound[row] == number:
                yield row

    def _sample(self, index: int) -> tuple[int, str]:
        """The first of these rows whose caption can be read, and the caption."""
        for row in self._rows(index):
            try:
                (caption,) = self.describe([row], [index])
            except BrokenSample as broken:
                self.tally.add(f"image {self.sound[row]}", str(broken))
                continue
            return row, caption

    def _moments(self, rows: list[int], mirrored: list[int]) -> Tensor:
        if self.held is not None:
            if get_worker_info():
                raise UserError("CachedLatents holds its latents on a device; set train_dataloader.num_workers=0")
            places = torch.tensor([rows, mirrored]).to(self.held.device, non_blocking=True)
            return self.held[tuple(places)]
        files = np.searchsorted(self.starts, rows, side="right") - 1
        batch = np.empty((len(rows), *self.files.shape[1:]), np.float16)
        for place, (file, row, side) in enumerate(zip(files.tolist(), rows, mirrored, strict=True)):
            batch[place] = self.files[file][row - self.starts[file], side]
        return torch.from_numpy(batch)


class _Packed:
    """Reads the captions of a row."""

    def __init__(self, texts: PackedTexts) -> None:
        self.texts = texts

    def __call__(self, row: int) -> list[str]:
        return json.loads(self.texts[row])
