"""The files of cached latents: how they are written, opened and checked.

A cache is a folder:

- ``cache.json``: the tokenizer's hash and the shape of its moments, the data set, how many images a shard has.
- ``00000.bin``, ``00001.bin``, ...: moments ``[n, 2, 2C, h, w]``, fp16, little-endian, nothing else; of each image
  as it is, and mirrored.
- ``00000.json``, ...: of each shard its SHA-256 and size, the names of its images, their labels or captions, and
  which are broken. It is written last: where it lies, its shard is whole.
"""

import hashlib
import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import barrier, get_dist_info
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..contracts import LatentImageTokenizer
from ..errors import UserError, check_integer
from ..files import read_json, write_atomically
from ..registry import DATASETS, resolve
from .broken import BrokenSample, Tally
from .decoding import to_inputs
from .image_dataset import ImageDataset

FORMAT = 2
SETTINGS = "cache.json"
AGAIN = "remove it and run jepa-t cache-latents again"
BROKEN = "broken_images"  # folder in the cache's, of the reports
FACTS: dict[str, Callable[[Any], bool]] = {  # what a shard says of an image, by kind
    "labels": lambda label: isinstance(label, int) and 0 <= label < 2**31,
    "captions": lambda some: isinstance(some, list) and bool(some) and all(isinstance(one, str) for one in some),
}
MOST, MOST_SHARDS = 10**12, 10**7  # images, and shards, that a cache may say it has
SHARD = 4096  # images; 134 MB of KL-16's moments at 256 pixels


class Cache:
    """A cache of latents, opened.

    Args:
        folder: Where it lies.

    Attributes:
        settings: What ``cache.json`` says.
        absent: Names of the shards that aren't there yet; empty if the cache is whole.
        shards: What each shard that is there says.

    Raises:
        UserError: There is no cache, or a shard has lost its numbers or has another size than it had.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        if not (self.folder / SETTINGS).is_file():
            raise UserError(f"{str(folder)!r} holds no cache of latents; write one with jepa-t cache-latents")
        self.settings = read_json(self.folder / SETTINGS, AGAIN)
        if self.settings.get("format") != FORMAT:
            raise UserError(f"the cache {str(folder)!r} has another format than {FORMAT}; write it anew")
        for name in ("count", "shard"):
            if check_integer(f"{name} in '{self.folder / SETTINGS}'", self.settings.get(name)) > MOST:
                raise UserError(f"{name} in '{self.folder / SETTINGS}' is {self.settings[name]}; at most {MOST}")
        if self.settings["count"] > MOST_SHARDS * self.settings["shard"]:
            raise UserError(f"'{self.folder / SETTINGS}' asks for more than {MOST_SHARDS} shards; it is damaged")
        _check_kinds(self.folder / SETTINGS, self.settings, {"tokenizer": dict, "images": dict, "kind": str})
        shape = self.settings["tokenizer"].get("shape")
        if (
            not isinstance(shape, list)
            or len(shape) != 3
            or not all(isinstance(n, int) and 0 < n < 2**20 for n in shape)
        ):
            raise UserError(f"the shape of latents in '{self.folder / SETTINGS}' is {shape!r}; {AGAIN}")
        names = shard_names(self.settings)
        self.absent = [name for name in names if not (self.folder / f"{name}.json").is_file()]
        self.shards = {
            name: read_json(self.folder / f"{name}.json", AGAIN) for name in names if name not in self.absent
        }
        for name, shard in self.shards.items():
            _check_shard(self.folder / f"{name}.json", shard, self.settings)
            path = self.folder / f"{name}.bin"
            size = path.stat().st_size if path.is_file() else None
            if size != shard["bytes"]:
                what = "is missing" if size is None else f"has {size} bytes instead of {shard['bytes']}"
                raise UserError(f"the cache's shard {str(path)!r} {what}; {_remedy(self.folder, name)}")

    def verify(self) -> list[str]:
        """Names of the shards whose numbers have changed since they were written; reads everything."""
        return [name for name, shard in self.shards.items() if _sha256(self.folder / f"{name}.bin") != shard["sha256"]]

    def check(self, identity: Mapping[str, Any]) -> None:
        """Compare the tokenizer it was made with with another's identity.

        Raises:
            UserError: They differ.
        """
        for key, theirs in self.settings["tokenizer"].items():
            if identity.get(key) != theirs:
                raise UserError(
                    f"the cache {str(self.folder)!r} is of another tokenizer: {key} {_short(theirs)}, "
                    f"model.image_tokenizer has {_short(identity.get(key))}; use that tokenizer, or write another cache"
                )


def shard_names(settings: Mapping[str, Any]) -> list[str]:
    """The names of all shards of a cache, in order."""
    return [f"{number:05d}" for number in range(math.ceil(settings["count"] / settings["shard"]))]


def _remedy(folder: Path, name: str) -> str:
    return f"remove {folder}/{name}.* and run jepa-t cache-latents again"


def _short(value: object) -> str:
    return f"{value[:12]}..." if isinstance(value, str) else str(value)


def _check_shard(path: Path, shard: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """See that a shard's facts are of their kinds, and agree with each other and with the cache's."""
    kind = settings["kind"]
    _check_kinds(path, shard, {"bytes": int, "sha256": str, "names": list, "broken": list, kind: list})
    first, names, broken, facts = int(path.stem) * settings["shard"], shard["names"], shard["broken"], shard[kind]
    count = min(settings["shard"], settings["count"] - first)
    right = {
        "names": all(isinstance(name, str) for name in names) and len(names) + len(broken) == count,
        "bytes": shard["bytes"] == 4 * len(names) * math.prod(settings["tokenizer"]["shape"]),
        kind: len(facts) == len(names) and all(map(FACTS.get(kind, lambda _: False), facts)),
        "broken": all(
            isinstance(one, dict) and isinstance(number := one.get("number"), int) and first <= number < first + count
            for one in broken
        ),
    }
    for name, agrees in right.items():
        if not agrees:
            raise UserError(f"{name} in {str(path)!r} don't agree with the cache; {AGAIN}")


def _check_kinds(path: Path, facts: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    for name, kind in kinds.items():
        if not isinstance(facts.get(name), kind):
            given = type(facts.get(name)).__name__
            raise UserError(f"{name} in {str(path)!r} is a {given}, not a {kind.__name__}; {AGAIN}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Writing


def write_cache(
    folder: str | Path,
    images: ImageDataset,
    tokenizer: LatentImageTokenizer,
    config: Mapping[str, Any],
    shard: int = SHARD,
    batch_size: int = 64,
    workers: int = 0,
) -> Iterator[str]:
    """Encode all images, as they are and mirrored; every process of the group takes its share of the shards.

    Shards that are there stay, so an interrupted run goes on where it was. An image's latents don't depend on how
    many processes there are.

    Args:
        folder: Where the cache is written.
        images: What is encoded.
        tokenizer: A `KLTokenizer`, on the device where it runs.
        config: The config of ``images``.
        shard: Images in a shard.
        batch_size: Images encoded at once, twice.
        workers: Processes of this process that decode images.

    Yields:
        The name of each shard that this process has written.

    Raises:
        UserError: The tokenizer has no moments, too many images are broken, latents don't fit in fp16, or the
            folder holds a cache of something else.
    """
    if not isinstance(tokenizer, LatentImageTokenizer):
        name = type(tokenizer).__name__
        raise UserError(f"latents of a {name} aren't cached: it is cheap, or discrete; use a KLTokenizer")
    folder, (rank, processes) = Path(folder).expanduser(), get_dist_info()
    check_integer("batch_size", batch_size)
    settings = {
        "format": FORMAT,
        "tokenizer": tokenizer.identity,
        "images": options_of(config),
        "kind": images.describe.kind,
        "count": len(images.names),
        "listing": hashlib.sha256("\n".join(images.names).encode("utf-8", "surrogatepass")).hexdigest(),
        "shard": check_integer("shard", shard),
    }
    if rank == 0:
        _begin(folder, settings)
    barrier()
    names = [name for name in shard_names(settings)[rank::processes] if not (folder / f"{name}.json").is_file()]
    ranges = [range(int(name) * shard, min(int(name) * shard + shard, settings["count"])) for name in names]
    batches = [each[start : start + batch_size] for each in ranges for start in range(0, len(each), batch_size)]
    loader = iter(DataLoader(_Decoded(images), batch_sampler=batches, num_workers=workers, collate_fn=_as_it_is))
    tally = Tally(folder / BROKEN, images.tally.max_broken)
    for name, numbers in zip(names, ranges, strict=True):
        moments, broken = [], {}
        for _ in range(0, len(numbers), batch_size):
            pixels, refused = next(loader)
            tally.read += len(pixels)
            for number, reason in refused.items():
                tally.add(images.names[number], reason)
            broken |= refused
            if pixels:
                moments.append(_encode(tokenizer, to_inputs(pixels)))
        _write_shard(folder / name, numbers, moments, broken, images)
        yield name


def _begin(folder: Path, settings: dict[str, Any]) -> None:
    """Say what the folder is to hold, or see that it says so already."""
    if (folder / SETTINGS).is_file():
        found = read_json(folder / SETTINGS, AGAIN)
        for key in ("format", "tokenizer", "kind", "count", "listing", "shard"):
            if found.get(key) != settings[key]:
                raise UserError(
                    f"{str(folder)!r} holds a cache of something else: {key} is {found.get(key)!r} there and "
                    f"{settings[key]!r} here; give another folder"
                )
    _write_json(folder / SETTINGS, settings)


class _Decoded(Dataset):
    """Images by number, without stand-ins: ``[S, S, 3]`` of those that are sound, reasons of those that aren't."""

    def __init__(self, images: ImageDataset) -> None:
        self.images = images

    def __getitems__(self, numbers: Sequence[int]) -> tuple[list[np.ndarray], dict[int, str]]:
        pixels, broken = [], {}
        for number in numbers:
            try:
                self.images.describe.fact(number)
                pixels.append(self.images.pixels(number))
            except BrokenSample as error:
                broken[number] = str(error)
        return pixels, broken


def _as_it_is(batch: Any) -> Any:
    return batch


@torch.no_grad()
def _encode(tokenizer: nn.Module, images: Tensor) -> np.ndarray:
    """Moments ``[B, 2, 2C, h, w]``, fp16, of images ``[B, 3, H, W]`` and their mirror images."""
    images = images.to(next(tokenizer.buffers()).device)
    both = tokenizer.moments(torch.cat([images, images.flip(-1)])).half().unflatten(0, (2, -1)).transpose(0, 1)
    if not both.isfinite().all():
        raise UserError("latents are too large for fp16, or no numbers; is image_tokenizer.source the right file?")
    return both.cpu().numpy()


def _write_shard(
    place: Path, numbers: range, moments: list[np.ndarray], broken: dict[int, str], images: ImageDataset
) -> None:
    path, sound = place.with_suffix(".bin"), [number for number in numbers if number not in broken]
    write_atomically(path, lambda file: [file.write(part.astype("<f2", copy=False).tobytes()) for part in moments])
    index = {
        "bytes": path.stat().st_size,
        "sha256": _sha256(path),
        "names": [images.names[number] for number in sound],
        images.describe.kind: [images.describe.fact(number) for number in sound],
        "broken": [{"number": n, "name": images.names[n], "reason": reason} for n, reason in broken.items()],
    }
    _write_json(place.with_suffix(".json"), index)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, lambda file: file.write(json.dumps(content, indent=1).encode()))


def options_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a component: those given, and the defaults of the others."""
    parameters = inspect.signature(resolve(config["type"], DATASETS)).parameters.values()
    defaults = {parameter.name: parameter.default for parameter in parameters}
    return defaults | dict(config)
