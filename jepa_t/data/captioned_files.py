"""Where images and their captions lie: found once, read by number."""

import json
import logging
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError, first_line
from .broken import BrokenSample
from .decoding import is_folder, is_image
from .storage import MappedFiles, PackedTexts
from .text_files import NO_TEXT, decode_text

MANIFESTS = (".jsonl", ".json")  # ends of their files' names


def pair(names: Sequence[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Which text belongs to which image, by the names of files.

    The two agree but for the last suffix (``v1.5.png``, ``v1.5.txt``); or else the text's name is the longest that ends
    at one of the image's dots (``x.large.png``, ``x.txt``). A text belongs to one image.

    Returns:
        The text of each image; the images that have none; and all that is left: other files, texts without an image,
        and images whose text belongs to another one.
    """
    texts = {_stems(name)[0]: name for name in names if name.lower().endswith(".txt")}
    images = [name for name in names if is_image(name)]
    found = _claim(images, texts)
    alone = [name for name in images if name not in found and texts.keys().isdisjoint(_stems(name))]
    known = {*found, *found.values(), *alone}
    return {name: found[name] for name in images if name in found}, alone, [name for name in names if name not in known]


def _claim(images: list[str], texts: dict[str, str]) -> dict[str, str]:
    """The text that each image gets, equal names before shorter ones."""
    free, found = dict(texts), {}
    for exact in (True, False):
        for name in images:
            stem = next((stem for stem in _stems(name)[: 1 if exact else None] if stem in free), None)
            if name not in found and stem is not None:
                found[name] = free.pop(stem)
    return found


def _stems(name: str) -> list[str]:
    """A file's name without its last suffix, its last two, ..."""
    folder, slash, base = name.rpartition("/")
    parts = base.split(".")
    return [folder + slash + ".".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


def _tell_left(left: list[str], where: object) -> None:
    if left:
        logging.getLogger("jepa_t").warning(
            "CaptionedImages: %d files in %s are no image with a caption and are left out, such as %s",
            *(len(left), where, left[0]),
        )


def _refuse_alone(alone: list[str], count: int, where: object) -> None:
    if alone:
        raise UserError(
            f"CaptionedImages: {len(alone)} of {count} images in {where} have no caption, such as {alone[0]}; "
            "put a .txt of the same name beside it"
        )


class Folder:
    """``x.jpg`` and ``x.txt`` side by side, at any depth."""

    def __init__(self, path: Path) -> None:
        self.path, names, texts, sizes, alone, left = path, [], [], [], [], []
        for below, files in _walk(path, "", frozenset()):
            pairs, without, others = pair(files)
            names += [below + name for name in pairs]
            texts += [below + name for name in pairs.values()]
            sizes += [files[name].stat().st_size for name in pairs.values()]
            alone += [below + name for name in without]
            left += [below + name for name in others]
        if not names and not alone:
            raise UserError(f"CaptionedImages: the folder {str(path)!r} has no images")
        _refuse_alone(alone, len(names) + len(alone), path)
        _tell_left(left, path)
        self.names, self.texts, self.sizes = PackedTexts(names), PackedTexts(texts), np.array(sizes)

    def image(self, number: int) -> Path:
        """The image's file."""
        return self.path / self.names[number]

    def captions(self, number: int) -> list[str]:
        """The text beside it."""
        try:
            return [decode_text((self.path / self.texts[number]).read_bytes())]
        except OSError as error:
            raise BrokenSample(f"its caption can't be read: {error.strerror}") from error


def _walk(root: Path, below: str, above: frozenset) -> Iterator[tuple[str, dict[str, os.DirEntry]]]:
    """The files of each folder, sorted by name; hidden ones, and hidden folders, are left out."""
    status = os.stat(root / below)
    if (status.st_dev, status.st_ino) in above:
        raise UserError(f"CaptionedImages: {str(root / below)!r} is a link to a folder that it lies in; remove it")
    above |= {(status.st_dev, status.st_ino)}
    with os.scandir(root / below) as entries:
        found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    folders = [entry.name for entry in found if not is_image(entry.name) and is_folder(entry, "CaptionedImages")]
    yield below, {entry.name: entry for entry in found if entry.name not in folders}
    for name in folders:
        yield from _walk(root, f"{below}{name}/", above)


def images_in(folder: Path) -> Iterator[str]:
    """The names of the images in a folder, at any depth."""
    return (below + name for below, files in _walk(folder, "", frozenset()) for name in files if is_image(name))


class Manifest:
    """A JSON object a line, with ``image`` and ``caption``."""

    def __init__(self, path: Path) -> None:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:  # the names of files may be any bytes
            pairs = [_line(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
        if not pairs:
            raise UserError(f"CaptionedImages: the manifest {str(path)!r} is empty")
        self.path, self.names = path, PackedTexts(name for name, _ in pairs)
        self._captions = PackedTexts(json.dumps(captions, ensure_ascii=False) for _, captions in pairs)
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
        hint = "; is it in UTF-8?" if NO_TEXT.search(line.strip()) else ""
        raise UserError(f"{where} is no JSON: {error.msg} at column {error.colno}{hint}") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, thousands of brackets
        raise UserError(f"{where} is no JSON: {first_line(error)}") from error
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
        names, rows, alone, left = [], [], [], []
        for file, path in enumerate(paths):
            members = _members(path)
            pairs, without, others = pair(list(members))
            names += [f"{path.name}:{name}" for name in pairs]
            rows += [(file, *members[name], *members[text]) for name, text in pairs.items()]
            alone += [f"{path.name}:{name}" for name in without]
            left += [f"{path.name}:{name}" for name in others]
        where = paths[0] if len(paths) == 1 else f"{len(paths)} shards of {paths[0].parent}"
        if not names and not alone:
            raise UserError(f"CaptionedImages: {where} has no images")
        _refuse_alone(alone, len(names) + len(alone), where)
        _tell_left(left, where)
        self.names, self.files, self.rows = PackedTexts(names), MappedFiles(paths), np.array(rows, np.int64)
        self.sizes = self.rows[:, 4]

    def _bytes(self, number: int, column: int) -> bytes:
        file, (offset, size) = self.rows[number, 0], self.rows[number, column : column + 2]
        return self.files[int(file)][offset : offset + size].tobytes()

    def image(self, number: int) -> bytes:
        """The image's bytes."""
        return self._bytes(number, 1)

    def captions(self, number: int) -> list[str]:
        """The text of its sample."""
        return [decode_text(self._bytes(number, 3))]


def _members(path: Path) -> dict[str, tuple[int, int]]:
    """Where each file in a tar file lies, and how long it is, by name; hidden ones are left out."""
    found, links, end = {}, [], path.stat().st_size
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isdir() or member.name.rpartition("/")[2].startswith("."):
                    continue
                if not member.isreg() or member.issparse():  # links and devices lead out of the shard
                    links.append(member.name)
                elif member.offset_data + member.size > end:
                    raise tarfile.ReadError(f"{member.name!r} ends beyond the file's end")
                else:
                    found[member.name] = member.offset_data, member.size
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        raise UserError(f"CaptionedImages: the shard {str(path)!r} is damaged or no tar file: {error}") from error
    if links:
        logging.getLogger("jepa_t").warning(
            "CaptionedImages: %d entries of %s are links, devices or sparse and are left out, such as %s",
            *(len(links), path, links[0]),
        )
    return found
