"""Many images on the disk: a folder of files, or one of ADM's ``.npz``."""

import io
import logging
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from ..data.broken import BrokenSample
from ..data.decoding import centre_crop, decode, is_image
from ..errors import UserError, check_integer, first_line
from ..files import write_atomically

# What reading an array of an archive can raise, of a damaged file or a hostile one.
UNREADABLE = (OSError, ValueError, KeyError, EOFError, MemoryError, NotImplementedError, OverflowError)
UNREADABLE += (zipfile.BadZipFile, zlib.error, struct.error, SyntaxError, TypeError)
INFLATED, TIMES = 2**26, 20  # bytes that an array may swell by, and how many times
THREADS = 8  # that encode at once; the work is done outside of Python's lock
PACKED = "arr_0"  # ADM's name of the images
IMAGES = "images"  # folder of images, beside what is made of them for the eye
LARGEST_SIDE = 2**14  # pixels

_log = logging.getLogger("jepa_t")


def name_of(index: int) -> str:
    """The file of a generated image."""
    return f"{index:06d}.png"


def write_images(folder: Path, indices: Sequence[int], images: Tensor) -> None:
    """Write images ``[B, 3, H, W]``, uint8, as PNG files, each whole or not at all."""

    def write(index: int, pixels: np.ndarray) -> None:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "png", compress_level=1)  # half the time of the default for 10 % more
        write_atomically(folder / name_of(index), lambda file: file.write(buffer.getvalue()))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(write, indices, images.permute(0, 2, 3, 1).contiguous().cpu().numpy()))


class Files:
    """Images that are files, decoded as training images are.

    Args:
        paths: One each.
        size: Cut the middle square of this many pixels, as ADM does; None leaves them as they are.
    """

    def __init__(self, paths: Sequence[Path], size: int | None = None) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, indices: Sequence[int]) -> list[np.ndarray]:
        """Pixels ``[H, W, 3]`` of each, uint8.

        Raises:
            UserError: One is damaged.
        """
        return [self._read(self.paths[index]) for index in indices]

    def _read(self, path: Path) -> np.ndarray:
        try:
            image = decode(path)
        except BrokenSample as error:
            raise UserError(f"image '{path}' can't be read ({error}); remove it and run again") from error
        return np.array(centre_crop(image, self.size) if self.size else image)


class Packed:
    """Images in an ``.npz`` as ADM writes it: ``arr_0 [N, H, W, 3]``, uint8; read as they are asked for.

    Args:
        path: The file.

    Raises:
        UserError: It holds no such array.
    """

    def __init__(self, path: Path) -> None:
        self.pixels = _mapped(path, f"{PACKED}.npy")
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4 or self.pixels.shape[-1] != 3:
            raise UserError(
                f"'{path}': {PACKED} is {self.pixels.dtype} {self.pixels.shape}; images are uint8 [N, H, W, 3]"
            )

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitems__(self, indices: Sequence[int]) -> list[np.ndarray]:
        """Pixels ``[H, W, 3]`` of each, uint8."""
        return [np.array(self.pixels[index]) for index in indices]


Images = Files | Packed


def open_images(source: str | Path, size: int | None = None) -> Images:
    """The images of a folder (those in its subfolders too, sorted by path) or of an ``.npz``.

    Where the folder has one called ``images``, as ``jepa-t sample`` writes it, that alone is read: what lies beside
    it, such as sheets, is made for the eye.

    Args:
        source: The path.
        size: As in :class:`Files`; those of an ``.npz`` have their size.

    Raises:
        UserError: There are none, or the size is out of range.
    """
    if size is not None and check_integer("the images' size", size) > LARGEST_SIDE:
        raise UserError(f"the images' size is {size}; it must be at most {LARGEST_SIDE}")
    path = Path(source).expanduser()
    if path.is_file():
        return Packed(path)
    inner = path / IMAGES if (path / IMAGES).is_dir() else path
    files = sorted(file for file in path.rglob("*") if not file.name.startswith(".") and not file.is_dir())
    every = [file for file in files if is_image(file.name)]
    found = [file for file in every if file.is_relative_to(inner)]
    if not found:
        raise UserError(f"no images in '{inner}'; give a folder that has some, or an .npz with {PACKED}")
    if beside := [file for file in every if not file.is_relative_to(inner)]:
        _log.warning("reading %s; left out are %d images beside it, such as %s", inner, len(beside), beside[0])
    if others := [file for file in files if not is_image(file.name)]:
        _log.warning("left out of %s are %d files that are no images, such as %s", path, len(others), others[0])
    return Files(found, size)


def blocks(count: int, size: int, rank: int = 0, world_size: int = 1) -> Iterator[range]:
    """Which of ``count`` things process ``rank`` takes at a time: every ``world_size``-th run of ``size``.

    The runs are the same for any number of processes, and so is what a network makes of each, to the last bit.
    """
    for start in range(rank * size, count, world_size * size):
        yield range(start, min(start + size, count))


def read(
    images: Images, batch_size: int, workers: int = 0, rank: int = 0, world_size: int = 1
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """This process's share of images, in :func:`blocks`: their numbers, and pixels ``[3, H, W]`` of each, uint8.

    Args:
        images: All of them.
        batch_size: How many at a time.
        workers: Processes that decode ahead.
        rank: The number of this process.
        world_size: How many processes there are.
    """
    mine = [list(block) for block in blocks(len(images), batch_size, rank, world_size)]
    loader = DataLoader(images, batch_sampler=mine, num_workers=workers, collate_fn=list)
    for indices, batch in zip(mine, loader, strict=True):
        yield indices, [torch.from_numpy(pixels).permute(2, 0, 1) for pixels in batch]


def pack(images: Images, path: Path, workers: int = 0) -> None:
    """Write images of one size as ADM's ``.npz``, a few at a time.

    Raises:
        UserError: Their sizes differ.
    """
    shape = images.__getitems__([0])[0].shape
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(images), *shape)}

    def write(file: IO[bytes]) -> None:
        with zipfile.ZipFile(file, "w") as archive, archive.open(f"{PACKED}.npy", "w", force_zip64=True) as array:
            np.lib.format.write_array_header_1_0(array, header)
            for indices, batch in read(images, 64, workers):
                for index, image in zip(indices, batch, strict=True):
                    pixels = image.permute(1, 2, 0)
                    if pixels.shape != shape:
                        sizes = f"image {index} is {tuple(pixels.shape)}, the first {shape}"
                        raise UserError(f"'{path}' needs images of one size: {sizes}")
                    array.write(pixels.contiguous().numpy().tobytes())

    write_atomically(path, write)


def _mapped(path: Path, member: str) -> np.ndarray:
    """An array of an ``.npz``, mapped from the disk where it isn't compressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            if member not in archive.namelist():
                raise UserError(f"'{path}' holds no {member.removesuffix('.npy')}: {', '.join(archive.namelist())}")
            info = archive.getinfo(member)
            if info.compress_type != zipfile.ZIP_STORED:
                refuse_inflated(info)
                with archive.open(member) as file:
                    return np.lib.format.read_array(file, allow_pickle=False)
        with path.open("rb") as file:
            file.seek(info.header_offset + 26)  # the local header: 30 bytes, of which the last 4 are two lengths
            file.seek(sum(struct.unpack("<HH", file.read(4))), io.SEEK_CUR)
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, fortran, dtype = read(file)
            return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(f"'{path}' is damaged or no .npz: {first_line(error)}") from error


def refuse_inflated(part: zipfile.ZipInfo) -> None:
    """See that a member of an archive isn't far larger than what was sent of it.

    Raises:
        ValueError: It is.
    """
    if part.file_size > INFLATED + TIMES * part.compress_size:
        raise ValueError(f"{part.filename} has {part.compress_size} bytes and swells to {part.file_size}")
