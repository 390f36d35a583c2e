"""ImageNet, or any other folder of class folders."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..contracts import TextTokenizer
from ..errors import UserError
from ..registry import DATASETS
from .broken import REPORT
from .class_captions import Captions, in_label_order
from .decoding import is_folder, is_image
from .image_dataset import ImageDataset
from .storage import PackedTexts

_log = logging.getLogger("jepa_t")


class LabelCaptions:
    """Captions of images that have labels.

    Args:
        labels: Class of each image ``[N]``, from 0.
        captions: The sentences about the classes.
    """

    kind = "labels"

    def __init__(self, labels: Sequence[int] | np.ndarray, captions: Captions) -> None:
        self.labels, self.captions = np.asarray(labels, np.int32), captions

    def __call__(self, numbers: Sequence[int], indices: Sequence[int]) -> list[str]:
        """A sentence about each image's class ``[B]``, drawn for the sample's index ``[B]``."""
        return self.captions(self.labels[numbers], indices)

    def read_by(self, text_tokenizer: TextTokenizer) -> None:
        """Do nothing, since all names and sentences are read before training."""

    def fact(self, number: int) -> int:
        """The image's label."""
        return int(self.labels[number])

    def covering(self) -> list[str]:
        """Captions with every name and every sentence."""
        return self.captions.covering()


@DATASETS.register_module()
class ImageNet(ImageDataset):
    """Images in class folders, ``root/split/<class>/*.JPEG``; the folders, sorted, are labels 0, 1, ...

    Folders whose names are numbers, or alike but for a number at their ends, as ``class_9`` and ``class_10``, are
    sorted by these numbers.

    A caption is the name of the class in a sentence, by `Captions`. Sample i is a function of the files, ``seed``
    and i alone; with ``flip``, sample i + N is image i mirrored, with a caption of its own.

    Args:
        root: The data set's folder.
        split: The folder in it, such as ``train`` or ``val``.
        size: Height and width in pixels, of ADM's centre crop.
        names: A name (or several) for each class folder, in the sorted order of the folders, or a file of them; or a
            dict from each folder to its name; ``imagenet`` for ImageNet's own 1,000.
        templates: The sentences, or a file of them; ``imagenet`` for CLIP's 80.
        flip: Show each image mirrored as well.
        seed: Of all that is drawn.
        max_broken: Share of the images read that may be broken, in [0, 1].
        report: Folder where broken images are named.

    Raises:
        UserError: A folder is absent or empty, or there aren't as many names as class folders.
    """

    def __init__(
        self,
        root: str,
        split: str = "train",
        size: int = 256,
        names: str | list[str | list[str]] | dict[str, str | list[str]] = "imagenet",
        templates: str | list[str] = "imagenet",
        flip: bool = True,
        seed: int = 0,
        max_broken: float = 0.001,
        report: str = REPORT,
    ) -> None:
        self.folder = Path(root).expanduser() / split
        classes = class_folders(self.folder)
        if isinstance(names, Mapping) and set(names) != set(classes):
            strange = sorted(map(str, set(names) ^ set(classes)))
            raise UserError(f"ImageNet: names and the class folders of {self.folder} differ, such as in {strange[0]!r}")
        captions = Captions(names, templates, seed)
        if len(captions.names) != len(classes):
            order = f"{classes[0]}, {classes[1]}, ..." if len(classes) > 1 else classes[0]
            raise UserError(
                f"ImageNet: {self.folder} has {len(classes)} class folders and names has {len(captions.names)}; "
                f"give one name for each, in the order {order}"
            )
        files, others = zip(*(_images(self.folder, name) for name in classes), strict=True)
        if left := [name for some in others for name in some]:
            _log.warning("ImageNet: %d files of %s are no images, such as %s", len(left), self.folder, left[0])
        labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(each) for each in files])
        listed = PackedTexts(name for each in files for name in each)
        super().__init__(listed, self._path, LabelCaptions(labels, captions), size, flip, seed, max_broken, report)

    def _path(self, number: int) -> Path:
        return self.folder / self.names[number]


def class_folders(folder: Path) -> list[str]:
    """The names of the class folders in a folder; their places are the labels.

    Raises:
        UserError: There are none.
    """
    if not folder.is_dir():
        raise UserError(f"ImageNet: {str(folder)!r} is no folder; expected class folders with images in it")
    with os.scandir(folder) as entries:
        found = {e.name: is_folder(e, "ImageNet") for e in entries if not e.name.startswith(".")}
    classes = in_label_order(name for name, is_class in found.items() if is_class)
    if left := sorted(found.keys() - classes):
        _log.warning("ImageNet: %d files beside the class folders of %s, such as %s", len(left), folder, left[0])
    if not classes:
        raise UserError(f"ImageNet: {str(folder)!r} has no class folders; expected {folder}/<class>/*.JPEG")
    if classes != sorted(classes):
        _log.warning(
            "ImageNet: the class folders of %s are sorted by their numbers: %s, ...", folder, ", ".join(classes[:12])
        )
    return classes


def _images(folder: Path, name: str) -> tuple[list[str], list[str]]:
    """The images of a class, and its other files; hidden ones are left out."""
    # Names alone: a million calls of stat would take minutes on a shared disk.
    files = [f"{name}/{file}" for file in sorted(os.listdir(folder / name)) if not file.startswith(".")]
    found = [file for file in files if is_image(file)]
    if not found:
        raise UserError(f"ImageNet: {str(folder / name)!r} has no images; fill it or remove it, since labels count it")
    return found, [file for file in files if not is_image(file)]
