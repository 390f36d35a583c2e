"""Pretrained text encoders, frozen: kept outside the network, and never run twice on one caption."""

import copy
import hashlib
import logging
import os
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import TextTokenizer, Worded
from ..errors import UserError
from ..layers import EPS, table
from ..structures import Text
from .captions import check_count, checked
from .sources import identify

CACHE = "~/.cache/jepa_t/text"  # where features are kept between runs
FORMAT = "1"  # of the files; another for any change in what their rows mean
MEMORY = 2**31  # bytes of features held at once; beyond, they are read from the disk again
BATCH = {"cpu": 1}  # captions encoded at once, by the kind of device
PROBE = "A photo of a na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve Zebra, 3 o'clock!"  # its ids tell tokenizers apart
ONE_AT_A_TIME = threading.RLock()  # threads that draw share what an encoder has said


class TextEncoder(nn.Module, ABC):
    """A pretrained encoder, as :class:`FrozenText` reads it.

    Attributes:
        width: E, channels of the text.
        activation: Its non-linearity, which is part of its hash.
        kept: The precision in which its features are kept.
        specials: How many special tokens each caption has: the last is one, and the first where there are two.
    """

    specials: int
    width: int
    activation: str
    kept: torch.dtype = torch.float16

    @abstractmethod
    def ids(self, caption: str) -> list[int]:
        """The caption's token ids; none if there is nothing to read."""

    @abstractmethod
    def forward(self, ids: Tensor) -> Tensor:
        """What is kept of token ids ``[B, n]``: the pooled vector, then the tokens' features ``[B, 1 + m, E]``."""


def ids_of(encoder: TextEncoder, caption: str, length: int) -> list[int]:
    """The token ids of a caption.

    Raises:
        UserError: It is no text, empty, or has more than ``length``.
    """
    with ONE_AT_A_TIME:
        ids = encoder.ids(checked(caption))
    check_count(caption, len(ids), length)
    return ids


def standardised(pooled: Tensor, tokens: Tensor) -> Tensor:
    """Pooled ``[B, E]`` and tokens ``[B, n, E]`` as rows ``[B, 1 + n, E]`` of mean 0 and variance 1."""
    return F.layer_norm(torch.cat([pooled[:, None], tokens], 1), tokens.shape[2:], eps=EPS)


class FrozenText(TextTokenizer):
    """A text tokenizer around a pretrained encoder: a lookup of features, and a learned null text.

    Token features and pooled vector are normalised to mean 0 and variance 1 each (a LayerNorm without weights):
    positions, words and registers of the network have std 1, pretrained features anything from 0.03 to 30.
    Captions of a data set repeat, so each is encoded once and remembered, in memory and on the disk.

    The encoder is no part of the module tree: no initialisation, average, optimizer, gradient exchange or
    checkpoint knows it, and copies of this module share it. It goes where the null text goes. A checkpoint holds
    its hash, and refuses to be loaded with another.

    Args:
        encoder: The pretrained one.
        name: What the user calls it.
        length: L; a caption of more tokens is refused.
        cache: Folder of the features on the disk; None for none.
    """

    def __init__(self, encoder: TextEncoder, name: str, length: int, cache: str | None) -> None:
        super().__init__()
        if length < 1:
            raise UserError(f"text_tokenizer.length is {length}; it must be at least 1")
        self.width, self.length = encoder.width, length
        self.tower = Tower(encoder, name, length, cache)
        self.null_token = table(1, self.width)
        remedy = f"{name!r} isn't the text_tokenizer.model it had"
        identify(self, "tower_hash", self.tower.hash, "the text encoder", remedy)

    def ids(self, captions: Sequence[str]) -> Tensor:
        """The encoder's token ids ``[B, L]``, int64, on the CPU; -1 on padding.

        Raises:
            UserError: A caption is no text, empty or too long.
        """
        ids = [self.tower.ids(caption) for caption in captions]
        return torch.tensor([row + [-1] * (self.length - len(row)) for row in ids]).view(-1, self.length)

    def reader(self) -> Callable[[str], object]:
        """What refuses a caption that can't be read, by a `UserError`."""
        return self.tower.reader()

    def null(self, batch: int) -> Text:
        """The learned null text, the unconditional caption: ``batch`` equal rows of one valid token."""
        tokens = F.pad(self.null_token, (0, 0, 0, self.length - 1))
        valid = torch.arange(self.length, device=tokens.device) < 1
        return Text(*(x.expand(batch, *x.shape) for x in (tokens, valid, self.null_token[0])))

    def forward(self, captions: Sequence[str]) -> Text:
        """Features of B captions: tokens ``[B, L, E]``, pooled ``[B, E]``; zero on padding.

        Raises:
            UserError: As :meth:`ids`.
        """
        rows, places = self.tower(captions, self.null_token.device)
        start, count = places[:, :1], places[:, 1:]
        steps = torch.arange(self.length, device=rows.device)
        valid = steps < count
        rows = rows[torch.cat([start, torch.where(valid, start + 1 + steps, 0)], 1)].to(self.null_token.dtype)
        return Text(rows[:, 1:], valid, rows[:, 0])


class FrozenWords(FrozenText, Worded):
    """One that keeps the features of each token."""

    def word_spans(self, caption: str) -> list[tuple[str, range]]:
        """The words of a caption in order, each with its tokens: those by which the caption grows with the word.

        Raises:
            UserError: They can't be told apart, since a word changes how those before it are read.
        """
        words, specials = checked(caption).split(), self.tower.encoder.specials
        first, whole = max(specials - 1, 0), self.tower.ids(" ".join(words))
        spans, start = [], first
        for number, word in enumerate(words, 1):
            ids = self.tower.ids(" ".join(words[:number]))
            end = len(ids) - specials + first
            if ids[:end] != whole[:end]:
                raise UserError(f"the caption {caption!r} is read otherwise than word by word; spell it plainly")
            spans.append((word, range(start, end)))
            start = end
        return spans


class Tower:
    """A frozen encoder with all it has ever said: an ordinary object, which copies of a module share.

    A caption's features are a row for the pooled vector and one per token. All captions' rows lie in one growing
    tensor, so a batch is one index into it. They are kept as fp16, for half the space (unless the encoder says
    otherwise): after normalisation no number exceeds the root of E, and all are exact to 1 part in 2,000.

    Each caption has a file of its own: the SHA-256 of the rest, then its rows. So processes can share the
    folder, and a file that isn't whole is told by its hash and written again.

    Args:
        encoder, name, length, cache: As in :class:`FrozenText`.

    Attributes:
        hash: SHA-256 of the weights, the non-linearity and the tokenizer's answer to a probe, 32 bytes.
    """

    def __init__(self, encoder: TextEncoder, name: str, length: int, cache: str | None) -> None:
        self.encoder = encoder.float().eval().requires_grad_(False)
        self.name, self.length = name, length
        self.hash = self.measure()
        self.folder = Path(cache).expanduser() / FORMAT / self.hash.hex()[:32] if cache else None
        self.forget()

    def __deepcopy__(self, _memo: dict) -> "Tower":
        return self

    def measure(self) -> bytes:
        """Compute the hash anew. It holds no names of weights, which change between versions of a library."""
        weights = sorted(_sha256(_bytes(p)) for p in self.encoder.parameters())
        said = f"{self.encoder.activation} {self.encoder.ids(PROBE)}".encode()
        return _sha256(b"".join([*weights, said]))

    def forget(self) -> None:
        """Empty the memory; the disk keeps what it has."""
        self._places: dict[str, tuple[int, int]] = {}  # first row and number of tokens
        self._rows = torch.zeros(1, self.encoder.width, dtype=self.encoder.kept)  # row 0 is padding
        self._used = 1

    def ids(self, caption: str) -> list[int]:
        """The token ids of a caption.

        Raises:
            UserError: It is no text, empty or too long.
        """
        return ids_of(self.encoder, caption, self.length)

    def reader(self) -> Callable[[str], object]:
        """What refuses a caption that can't be read, by a `UserError`: the encoder without its weights."""
        shell = copy.copy(self.encoder)
        shell._modules, shell._parameters, shell._buffers = {}, {}, {}
        return partial(ids_of, shell, length=self.length)

    def __call__(self, captions: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
        """Look captions up, after encoding those that are new.

        Returns:
            All rows ``[R, E]``, and each caption's first row and number of tokens ``[B, 2]``; on the device.
        """
        with ONE_AT_A_TIME:
            new = [c for c in captions if not isinstance(c, str) or c not in self._places]
            if new and 2 * self._used * self.encoder.width > MEMORY:
                self.forget()
                new = list(captions)
            if new:
                ids = {caption: self.ids(caption) for caption in new}
                with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
                    self._learn(ids, device)
            if self._rows.device != device:
                self._rows = self._rows.to(device)
            rows, places = self._rows, torch.tensor([self._places[c] for c in captions], dtype=torch.int64)
        return rows, places.view(-1, 2).to(device, non_blocking=True)

    def _learn(self, new: dict[str, list[int]], device: torch.device) -> None:
        found = {caption: rows for caption in new if (rows := self._read(caption)) is not None}
        missing = {caption: ids for caption, ids in new.items() if caption not in found}
        for caption, rows in self._encode(missing, device):
            found[caption] = rows
            self._write(caption, rows)
        rows = torch.cat([found[caption] for caption in new])
        used = self._used
        if used + len(rows) > len(self._rows):
            self._rows = torch.cat([self._rows, self._rows.new_zeros(len(self._rows) + len(rows), rows.shape[1])])
        self._rows[used : used + len(rows)] = rows.to(self._rows.device)
        for caption in new:
            self._places[caption] = used, len(found[caption]) - 1
            used += len(found[caption])
        self._used = used

    def _encode(self, new: dict[str, list[int]], device: torch.device) -> Iterator[tuple[str, Tensor]]:
        """Run the encoder, without padding: captions of one length together.

        On a CPU one by one: features don't depend on the batch by a bit, so that a resumed run, which meets captions
        in other batches, equals an unbroken one even without the disk.
        """
        self.encoder.to(device)
        size = BATCH.get(device.type, 64)
        for count in sorted({len(ids) for ids in new.values()}):
            group = [caption for caption, ids in new.items() if len(ids) == count]
            for start in range(0, len(group), size):
                chunk = group[start : start + size]
                ids = torch.tensor([new[caption] for caption in chunk], device=device)
                yield from zip(chunk, self.encoder(ids).to(self.encoder.kept).cpu(), strict=True)

    def _file(self, folder: Path, caption: str) -> Path:
        name = _sha256(caption.encode("utf-8", "surrogatepass")).hex()
        return folder / name[:2] / name[2:]

    def _read(self, caption: str) -> Tensor | None:
        """A caption's rows from the disk; None if they aren't there, or not whole."""
        if self.folder is None:
            return None
        try:
            data = self._file(self.folder, caption).read_bytes()
        except OSError:
            return None
        row = self.encoder.width * self.encoder.kept.itemsize
        if len(data) < 32 + row or (len(data) - 32) % row or _sha256(data[32:]) != data[:32]:
            return None
        return torch.frombuffer(bytearray(data), dtype=self.encoder.kept, offset=32).view(-1, self.encoder.width)

    def _write(self, caption: str, rows: Tensor) -> None:
        if self.folder is None:
            return
        path, data = self._file(self.folder, caption), _bytes(rows)
        unfinished = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:  # a name no process shares
                unfinished = file.name
                file.write(_sha256(data) + data)
            os.replace(unfinished, path)
        except OSError as error:
            if unfinished:
                Path(unfinished).unlink(missing_ok=True)
            logging.getLogger("jepa_t").warning("text features aren't kept on the disk: %s", error)
            self.folder = None


def _bytes(x: Tensor) -> bytes:
    return x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
