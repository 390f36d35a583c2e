"""Captions for data sets that have class labels: the names of the classes in sentences."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from .hashing import draw
from .text_files import read_lines

HERE = Path(__file__).parent
IMAGENET = {"names": HERE / "imagenet_classes.txt", "templates": HERE / "imagenet_templates.txt"}


class Captions:
    """Sentences about classes; the caption of an image is a function of seed, index and label alone.

    Args:
        names: A name per class, or a list of names for one that has several; or a dict of these by the classes'
            folders; or ``"imagenet"``, ImageNet's 1,000 in the order of its labels; or a text file, a class a line.
        templates: Sentences with ``{}`` for the name; or ``"imagenet"``, the 80 of CLIP; or a text file of one per
            line. Lines that begin with ``#`` are left out.
        seed: Seed of the choice.

    Attributes:
        names: All names of each class.
        templates: All sentences.

    Raises:
        UserError: A file is missing, a list is empty, or a sentence has no place for the name.

    Examples:
        >>> say = Captions(["cat", ["dog", "hound"]], ["a photo of a {}"])
        >>> say(labels=[0], indices=[0])
        ['a photo of a cat']
    """

    def __init__(
        self,
        names: str | Sequence[str | Sequence[str]] | Mapping[str, str | Sequence[str]],
        templates: str | Sequence[str] = ("a photo of a {}",),
        seed: int = 0,
    ) -> None:
        if isinstance(names, Mapping):
            names = [names[folder] for folder in in_label_order(names)]
        named = _lines("names", names)
        named = [tuple(name) if isinstance(name, Sequence) and not isinstance(name, str) else (name,) for name in named]
        self.names, self.templates, self.seed = named, list(_lines("templates", templates)), seed
        for number, synonyms in enumerate(self.names):
            if not synonyms or not all(isinstance(name, str) and name.strip() for name in synonyms):
                raise UserError(f"Captions names: class {number} is {synonyms!r}; give it a name")
        for template in self.templates:
            if not isinstance(template, str) or template.count("{}") != 1:
                raise UserError(f"Captions templates: {template!r} needs one {{}} for the name")

    def __call__(self, labels: Sequence[int] | np.ndarray, indices: Sequence[int] | np.ndarray) -> list[str]:
        """Captions of N images.

        Args:
            labels: Their classes ``[N]``, from 0.
            indices: Their numbers in the data set ``[N]``, of 0 or more; others get other sentences.

        Raises:
            UserError: A label has no name, an index is below 0, one is no whole number, or the lengths differ.
        """
        labels, indices = _numbers("labels", labels), _numbers("indices", indices)
        if labels.shape != indices.shape or labels.ndim != 1:
            raise UserError(f"Captions: labels {labels.shape} and indices {indices.shape}; give one of each per image")
        strange = labels[(labels < 0) | (labels >= len(self.names))]
        if len(strange):
            raise UserError(f"Captions: label {strange[0]} has no name; there are {len(self.names)} classes, from 0")
        if (indices < 0).any():
            raise UserError(f"Captions: index {indices.min()} is below 0; number the images from 0")
        counts = np.array([len(synonyms) for synonyms in self.names])[labels]
        chosen = draw(self.seed, "captions name", indices, counts)
        sentences = draw(self.seed, "captions template", indices, len(self.templates))
        return [
            self.templates[sentence].replace("{}", self.names[label][name])
            for label, name, sentence in zip(labels, chosen, sentences, strict=True)
        ]

    def covering(self) -> list[str]:
        """A few captions that hold every name and every sentence, the longest of both together."""
        names = list(dict.fromkeys(name for synonyms in self.names for name in synonyms))
        name, template = max(names, key=len), max(self.templates, key=len)
        return [template.replace("{}", each) for each in names] + [each.replace("{}", name) for each in self.templates]


def in_label_order(folders: Iterable[str]) -> list[str]:
    """Class folders sorted by their names; by the numbers at their ends, if they have these and else are alike."""
    folders = sorted(folders)
    found = [match for name in folders if (match := re.fullmatch(r"(.*?)([0-9]+)", name, re.DOTALL))]
    if len(found) < len(folders) or len({match[1] for match in found}) > 1:
        return folders
    return [match[0] for match in sorted(found, key=lambda match: int(match[2]))]


def _numbers(field: str, given: Sequence[int] | np.ndarray) -> np.ndarray:
    found = np.asarray(given)
    if found.size and found.dtype.kind not in "iu":
        raise UserError(f"Captions: {field} such as {found.flat[0]!r} are no whole numbers")
    return found.astype(np.int64)


def _lines(field: str, given: str | Sequence) -> Sequence:
    if isinstance(given, str):
        path = IMAGENET[field] if given == "imagenet" else Path(given).expanduser()
        if not path.is_file():
            raise UserError(f"Captions {field}={given!r} is no file; give a list, a text file or 'imagenet'")
        given = read_lines(path, f"Captions {field}")
    if not isinstance(given, Sequence):
        raise UserError(f"Captions {field} is {given!r}; give a list, a text file or 'imagenet'")
    if not given:
        raise UserError(f"Captions {field} is empty; give at least one")
    return given
