"""Images as they are in the wild: decoded right, or refused with a reason; and what is done about the refused."""

import io
import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import UserError, first_line, whole
from .hashing import draw

SUFFIXES = {"bmp", "gif", "jfif", "jpeg", "jpg", "pgm", "png", "ppm", "tif", "tiff", "webp"}  # of files taken as such
HALVED = 2**26  # pixels; a JPEG of more is decoded at half its size, or less
NARROW = 16  # times as long as wide; what is longer loses its ends before it is scaled
REPORT = "work_dirs/broken_images"
LEAST = 10  # broken images, not readings of them, before their share is judged
SAMPLE = 1024  # images that a tokenizer is fitted on
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BrokenImage(Exception):
    """An image, or its caption, that can't be read; says why in one line."""


def decode(source: str | Path | bytes) -> Image.Image:
    """An image as 8-bit RGB, upright: from a file, or from the bytes of one.

    CMYK and palettes are converted, transparent parts lie on white, 16-bit grey is rounded to 8 bits, EXIF's
    orientation is followed, the first frame of several is taken. Images of more pixels than twice PIL's
    ``Image.MAX_IMAGE_PIXELS``, which is 179 million, are refused.

    Raises:
        BrokenImage: It is truncated, damaged, too large, or no image.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # of metadata (some of ImageNet's are damaged), and of size
        try:
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                if image.format == "JPEG" and image.width * image.height > HALVED:
                    image.draft(None, (image.width // 2, image.height // 2))
                image.load()
                return _upright(image, _rgb(image))
        except BrokenImage:
            raise
        except UnidentifiedImageError as error:  # its text is the address of an object
            raise BrokenImage("no image, or its beginning is damaged") from error
        except OSError as error:
            raise BrokenImage(error.strerror or first_line(error)) from error
        except Exception as error:  # a damaged file can fail anywhere in PIL's many readers
            raise BrokenImage(first_line(error)) from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise BrokenImage("its pixels are fractions, of a range that nothing says")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise BrokenImage("its grey values have more than 16 bits")
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _upright(image: Image.Image, pixels: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception as error:  # damaged metadata says nothing of sound pixels
        logging.getLogger("jepa_t").debug("EXIF: %s", error)
        orientation = None
    return pixels.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else pixels


def centre_crop(image: Image.Image, size: int) -> Image.Image:
    """The middle square as ADM cuts it (guided-diffusion): halved by boxes, scaled bicubically, then cut.

    Args:
        image: Of mode RGB.
        size: Height and width of the result in pixels.
    """
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    side = min(image.size)
    if max(image.size) > NARROW * side:  # a strip of one pixel's width would be scaled to millions of them
        image = _middle(image, min(image.width, NARROW * side), min(image.height, NARROW * side))
    scale = size / side
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    return _middle(image, size, size)


def _middle(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def is_image(name: str) -> bool:
    """Whether a file's name ends as those of images do."""
    stem, _, suffix = name.rpartition("/")[2].rpartition(".")
    return bool(stem) and not stem.startswith(".") and suffix.lower() in SUFFIXES


def to_inputs(pixels: Sequence[np.ndarray]) -> Tensor:
    """Images ``[S, S, 3]``, uint8, as a batch ``[B, 3, S, S]``, float32 in [-1, 1]."""
    batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    return batch / 127.5 - 1


class Tally:
    """What one process has read: it counts, names the broken in a file of its own, and stops when they are many.

    Args:
        report: Folder of these files; processes and workers append to one each, so they share nothing.
        max_broken: Share of the images read, in [0, 1].

    Attributes:
        read: How many were read, the broken among them.
        broken: How many of them were broken.
        reasons: Of each that was broken, by its name.

    Raises:
        UserError: ``max_broken`` is out of range.
    """

    def __init__(self, report: str | Path, max_broken: float) -> None:
        if not 0 <= max_broken <= 1:
            raise UserError(f"max_broken is {max_broken}; it must lie between 0 and 1")
        self.report, self.max_broken = Path(report).expanduser(), max_broken
        self.read, self.broken, self.reasons = 0, 0, {}

    def add(self, name: str, reason: str) -> None:
        """Count a broken image, and name it in the report.

        Raises:
            UserError: More than ``max_broken`` of the images read are broken, and at least ten different ones.
        """
        self.read, self.broken = self.read + 1, self.broken + 1
        if name not in self.reasons:
            self.reasons[name] = reason
            self._write(f"{name}\t{reason}\n")
        if len(self.reasons) >= LEAST and self.broken > self.max_broken * self.read:
            first = ", ".join(f"{name} ({reason})" for name, reason in list(self.reasons.items())[:3])
            raise UserError(
                f"{self.broken} of {self.read} images read are broken, more than max_broken={self.max_broken}: "
                f"{first} ...; all are named in {self.report}; mend or remove them, or raise max_broken"
            )

    def _write(self, line: str) -> None:
        log, file = logging.getLogger("jepa_t"), self.report / f"{socket.gethostname()}_{os.getpid()}.tsv"
        try:
            self.report.mkdir(parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8", errors="surrogateescape") as lines:
                lines.write(line)
        except OSError as error:
            log.warning("broken image %s; the report can't be written: %s", line.strip(), error)
            return
        if len(self.reasons) == 1:
            log.warning("broken image %s; all are named in %s", line.strip(), file)


def places(seed: int, index: int, count: int) -> Iterator[int]:
    """The image that sample ``index`` shows, of ``count``, and those that stand in for it while it is broken."""
    yield index % count
    for attempt in range(100):
        yield int(draw(seed, f"stand-in {attempt}", np.array([index]), count)[0])
    raise UserError("100 images in turn are broken; mend or remove those that the report names")


class Described(Protocol):
    """Captions of images; `Labelled` and `Written` are such."""

    kind: str

    def __call__(self, numbers: Sequence[int], indices: Sequence[int]) -> list[str]:
        """A caption of each image ``[B]``, drawn for the sample of that index ``[B]``."""

    def fact(self, number: int) -> int | list[str]:
        """What a cache keeps of an image, to say the same."""

    def covering(self) -> list[str]:
        """Captions that stand for all: a tokenizer is fitted on them and checks their lengths."""


class ImageDataset(Dataset):
    """Images in files, and their captions. Every sample is a function of the files, ``seed`` and its index alone.

    With ``flip``, sample i + N is the mirror image of image i, with a caption of its own. A broken image is
    counted, named, and replaced by another that depends on seed and index.

    Args:
        names: The images' names, by number ``[N]``.
        locate: Where the image of a number lies, or its bytes.
        describe: Their captions.
        size: Height and width in pixels, of ADM's centre crop.
        flip: Show each image mirrored as well.
        seed: Of all that is drawn.
        max_broken: Share of the images read that may be broken, in [0, 1]; with more, and at least ten, reading
            stops.
        report: Folder where the broken are named, with the reason, in a file a process.
    """

    def __init__(
        self,
        names: Sequence[str],
        locate: Callable[[int], Path | bytes],
        describe: Described,
        size: int,
        flip: bool,
        seed: int,
        max_broken: float,
        report: str,
    ) -> None:
        self.size = whole(f"{type(self).__name__} size", size)
        self.names, self.locate, self.describe, self.flip, self.seed = names, locate, describe, flip, seed
        self.tally = Tally(report, max_broken)

    @property
    def captions(self) -> list[str]:
        """Captions that stand for all of them."""
        return self.describe.covering()

    @property
    def images(self) -> Tensor:
        """A seeded sample of the images ``[n, 3, S, S]``, float32 in [-1, 1]; read when asked for."""
        count = len(self.names)
        chosen = draw(self.seed, "images", np.arange(SAMPLE), count) if count > SAMPLE else range(count)
        return self.__getitems__([int(number) for number in chosen])["inputs"]

    def pixels(self, number: int) -> np.ndarray:
        """The image ``[S, S, 3]``, uint8.

        Raises:
            BrokenImage: It can't be read.
        """
        return np.asarray(centre_crop(decode(self.locate(number)), self.size))

    def __len__(self) -> int:
        return len(self.names) * (2 if self.flip else 1)

    def __getitems__(self, indices: list[int]) -> dict:
        """A batch: ``inputs [B, 3, S, S]`` in [-1, 1] and ``data_samples`` with the ``caption`` list.

        Raises:
            UserError: Too many images are broken.
        """
        pixels, captions = zip(*map(self._sample, indices), strict=True)
        return {"inputs": to_inputs(pixels), "data_samples": {"caption": list(captions)}}

    def _sample(self, index: int) -> tuple[np.ndarray, str]:
        for number in places(self.seed, index, len(self.names)):
            try:
                (caption,) = self.describe([number], [index])
                pixels = self.pixels(number)
            except BrokenImage as broken:
                self.tally.add(self.names[number], str(broken))
                continue
            self.tally.read += 1
            return (pixels[:, ::-1] if index >= len(self.names) else pixels), caption
