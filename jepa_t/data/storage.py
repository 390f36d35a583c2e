"""What millions of small things are kept in, so that processes can share it: packed texts, and mapped files."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np


class PackedTexts(Sequence[str]):
    """Many texts in two arrays instead of an object each, which every forked worker would come to copy.

    Attributes:
        data: All of them, one after the other, in UTF-8.
        ends: Where each one ends ``[N]``, int64.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]  # names of files may be any bytes
        self.data, self.ends = b"".join(encoded), np.cumsum([len(text) for text in encoded], dtype=np.int64)

    @property
    def sizes(self) -> np.ndarray:
        """Bytes of each ``[N]``."""
        return np.diff(self.ends, prepend=0)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> str:
        if not 0 <= number < len(self.ends):
            raise IndexError(number)
        start = self.ends[number - 1] if number else 0
        return self.data[start : self.ends[number]].decode("utf-8", "surrogatepass")


class MappedFiles:
    """Files of one kind of array, each mapped into memory when it is first read, in whatever process reads it.

    Args:
        paths: The files.
        dtype: The kind of their numbers.
        shape: Of an entry; a file holds any number of them.
    """

    def __init__(self, paths: Sequence[Path], dtype: type = np.uint8, shape: tuple[int, ...] = ()) -> None:
        self.paths, self.dtype, self.shape = list(paths), dtype, tuple(shape)
        self._maps: dict[int, np.ndarray] = {}

    def __getitem__(self, file: int) -> np.ndarray:
        """The entries of a file ``[n, *shape]``, read-only; nothing is read before it is looked at."""
        if file not in self._maps:
            whole = np.memmap(self.paths[file], self.dtype, mode="r")
            self._maps[file] = np.asarray(whole).reshape(-1, *self.shape)
        return self._maps[file]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}  # numpy would send the numbers along
