"""A user's own images with captions: a folder, a manifest, or webdataset's tar shards."""

import glob
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..registry import DATASETS
from .broken import REPORT, BrokenSample
from .decoding import SUFFIXES, is_image
from .hashing import draw
from .image_dataset import ImageDataset
from .storage import Mapped, Texts

COVERING = 10_000  # images whose captions stand for all: a fifth have the longest, the others lie evenly


class OwnCaptions:
    """Captions that the images came with, read when they are needed; one of several is drawn.

    Args:
        read: The captions of the image of a number.
        sizes: How long they are, about ``[N]``.
        seed: Of the choice.
    """

    kind = "captions"

    def __init__(self, read: Callable[[int], list[str]], sizes: np.ndarray, seed: int) -> None:
        self.read, self.sizes, self.seed = read, sizes, seed

    def __call__(self, numbers: Sequence[int], indices: Sequence[int]) -> list[str]:
        """A caption of each image ``[B]``, drawn for the sample's index ``[B]``.

        Raises:
            BrokenSample: A caption is empty, or no text.
        """
        captions = [self.fact(number) for number in numbers]
        chosen = draw(self.seed, "caption", np.asarray(indices), np.array([len(some) for some in captions]))
        return [some[place] for some, place in zip(captions, chosen, strict=True)]

    def fact(self, number: int) -> list[str]:
        """All captions of an image.

        Raises:
            BrokenSample: There is none, one is empty, or one is no text.
        """
        captions = self.read(number)
        if not captions or not all(caption.strip() for caption in captions):
            raise BrokenSample("its caption is empty")
        return captions

    def covering(self) -> list[str]:
        """All captions of at most 10,000 images: the longest, and others evenly from the rest."""
        numbers = np.arange(len(self.sizes))
        if len(numbers) > COVERING:
            longest = np.argsort(-self.sizes, kind="stable")[: COVERING // 5]
            numbers = np.concatenate([longest, np.linspace(0, len(numbers) - 1, COVERING - len(longest), dtype=int)])
        captions: dict[str, None] = {}
        for number in numbers.tolist():
            try:
                captions.update(dict.fromkeys(self.fact(number)))
            except BrokenSample:  # told when the image's turn comes
                continue
        return list(captions)


@DATASETS.register_module()
class CaptionedImages(ImageDataset):
    """Images with captions of their own.

    Sample i is a function of the files, ``seed`` and i alone; with ``flip``, sample i + N is image i mirrored.

    Args:
        source: One of

            - a folder, at any depth, of images and texts, ``x.jpg`` and ``x.txt``;
            - a manifest ``*.jsonl``, in each line ``{"image": "x.jpg", "caption": "..."}``, where the path is taken
              from the manifest's folder and the caption may be a list, of which one is drawn;
            - webdataset's shards: a tar file, a folder of them, or a pattern such as ``shards/*.tar``. Members that
              agree up to the first dot are one sample, ``x.jpg`` and ``x.txt``.
        size: Height and width in pixels, of ADM's centre crop.
        flip: Show each image mirrored as well.
        seed: Of all that is drawn.
        max_broken: Share of the images read that may be broken, in [0, 1]; an empty caption breaks one too.
        report: Folder where broken images are named.

    Raises:
        UserError: There are no images, one has no caption, or a line or a shard can't be read.
    """

    def __init__(
        self,
        source: str,
        size: int = 256,
        flip: bool = True,
        seed: int = 0,
        max_broken: float = 0.001,
        report: str = REPORT,
    ) -> None:
        found = _find(source)
        captions = OwnCaptions(found.captions, found.sizes, seed)
        super().__init__(found.names, found.image, captions, size, flip, seed, max_broken, report)


def _find(source: str) -> "Folder | Manifest | Shards":
    path = Path(source).expanduser()
    if path.is_dir():
        shards = sorted(path.glob("*.tar"))
        return Shards(shards) if shards else Folder(path)
    if path.suffix == ".tar":
        shards = [Path(name) for name in sorted(glob.glob(str(path)))]
        if not shards:
            raise UserError(f"CaptionedImages source {source!r} names no tar file")
        return Shards(shards)
    if not path.is_file():
        raise UserError(f"CaptionedImages source {source!r} is absent; give a folder, a .jsonl file or .tar files")
    if path.suffix not in (".jsonl", ".json"):
        raise UserError(f"CaptionedImages source {source!r}: give a folder, a .jsonl file or .tar files (uncompressed)")
    return Manifest(path)


def _one_text(data: bytes) -> list[str]:
    try:
        return [" ".join(data.decode("utf-8-sig").split())]
    except UnicodeDecodeError as error:
        raise BrokenSample("its caption isn't in UTF-8") from error


def _refuse_lone(lone: list[str], count: int, where: object, remedy: str) -> None:
    if lone:
        raise UserError(
            f"CaptionedImages: {len(lone)} of {count} images in {where} have no caption, such as {lone[0]}; {remedy}"
        )


class Folder:
    """``x.jpg`` and ``x.txt`` side by side, at any depth."""

    def __init__(self, path: Path) -> None:
        self.path, names, sizes, lone = path, [], [], []
        for name, size in self._walk(""):
            (names if size is not None else lone).append(name)
            sizes += [size] if size is not None else []
        if not names and not lone:
            raise UserError(f"CaptionedImages: the folder {str(path)!r} has no images")
        _refuse_lone(lone, len(names) + len(lone), path, f"write {Path(lone[0]).stem if lone else ''}.txt beside it")
        self.names, self.sizes = Texts(names), np.array(sizes)

    def _walk(self, below: str) -> Iterator[tuple[str, int | None]]:
        with os.scandir(self.path / below) as entries:
            found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
        texts = {entry.name[:-4]: entry for entry in found if entry.name.endswith(".txt")}
        for entry in found:
            name = f"{below}{entry.name}"
            if is_image(entry.name):
                text = texts.get(entry.name.rpartition(".")[0])
                yield name, text.stat().st_size if text else None
            elif entry.is_dir():
                yield from self._walk(f"{name}/")

    def image(self, number: int) -> Path:
        """The image's file."""
        return self.path / self.names[number]

    def captions(self, number: int) -> list[str]:
        """The text beside it, in one line."""
        try:
            return _one_text((self.path / self.names[number]).with_suffix(".txt").read_bytes())
        except OSError as error:
            raise BrokenSample(f"its caption can't be read: {error.strerror}") from error


class Manifest:
    """A JSON object a line, with ``image`` and ``caption``."""

    def __init__(self, path: Path) -> None:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            pairs = [_line(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
        if not pairs:
            raise UserError(f"CaptionedImages: the manifest {str(path)!r} is empty")
        self.path, self.names = path, Texts(name for name, _ in pairs)
        self._captions = Texts(json.dumps(captions, ensure_ascii=False) for _, captions in pairs)
        self.sizes = np.array([max(map(len, captions)) for _, captions in pairs])

    def image(self, number: int) -> Path:
        """The image's file."""
        return self.path.parent / Path(self.names[number]).expanduser()

    def captions(self, number: int) -> list[str]:
        """What its line says."""
        return json.loads(self._captions[number])


def _line(path: Path, number: int, line: str) -> tuple[str, list[str]]:
    where = f"CaptionedImages: {path}, line {number}"
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is no JSON: {error.msg} at column {error.colno}") from error
    if not isinstance(found, dict) or not isinstance(found.get("image"), str):
        raise UserError(f'{where} names no image; write {{"image": "x.jpg", "caption": "..."}}')
    captions = found.get("caption")
    captions = [captions] if isinstance(captions, str) else captions
    if not isinstance(captions, list) or not captions or not all(isinstance(caption, str) for caption in captions):
        raise UserError(f"{where} has the caption {found.get('caption')!r}; give a text, or a list of texts")
    return found["image"], captions


class Shards:
    """Samples in tar files: their places, found once from the headers; then read by offset."""

    def __init__(self, paths: list[Path]) -> None:
        names, rows, lone = [], [], []
        for file, path in enumerate(paths):
            for key, members in _samples(path):
                image = next((members[suffix] for suffix in members if suffix in SUFFIXES), None)
                if image is None:
                    continue
                if "txt" not in members:
                    lone.append(f"{key} of {path.name}")
                    continue
                names.append(f"{path.name}:{key}")
                rows.append((file, *image, *members["txt"]))
        where = paths[0] if len(paths) == 1 else f"{len(paths)} shards of {paths[0].parent}"
        if not names and not lone:
            raise UserError(f"CaptionedImages: {where} has no images")
        _refuse_lone(lone, len(names) + len(lone), where, "each x.jpg needs an x.txt behind it")
        self.names, self.files, self.rows = Texts(names), Mapped(paths), np.array(rows, np.int64)
        self.sizes = self.rows[:, 4]

    def _bytes(self, number: int, column: int) -> bytes:
        file, (offset, size) = self.rows[number, 0], self.rows[number, column : column + 2]
        return self.files[int(file)][offset : offset + size].tobytes()

    def image(self, number: int) -> bytes:
        """The image's bytes."""
        return self._bytes(number, 1)

    def captions(self, number: int) -> list[str]:
        """The text of its sample, in one line."""
        return _one_text(self._bytes(number, 3))


def _samples(path: Path) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
    """The samples of a tar file: a key, and by suffix where each member lies and how long it is.

    As webdataset has it, a sample is consecutive members whose names agree up to the first dot of the last part.
    """
    key, members = None, {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                match = re.fullmatch(r"((?:.*/)?[^./][^./]*)\.([^/]+)", member.name)
                if not match or not member.isfile():
                    continue
                if match[1] != key:
                    if members:
                        yield key, members
                    key, members = match[1], {}
                members[match[2].lower()] = (member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"CaptionedImages: the shard {str(path)!r} is damaged or no tar file: {error}") from error
    if members:
        yield key, members
