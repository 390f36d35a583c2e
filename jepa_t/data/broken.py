"""What is done about samples that can't be read: they are counted, named, and replaced."""

import logging
import os
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from ..errors import UserError, check_share, printable
from .hashing import draw

REPORT = "work_dirs/broken_images"
LEAST = 10  # broken images, not readings of them, before their share is judged
_log = logging.getLogger("jepa_t")


class BrokenSample(Exception):
    """An image, or its caption, that can't be read; says why in one line."""


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
        self.report, self.max_broken = Path(report).expanduser(), check_share("max_broken", max_broken)
        self.read, self.broken, self.reasons = 0, 0, {}
        self._named: set[bytes] | None = None

    @property
    def file(self) -> Path:
        """The report of this process."""
        return self.report / f"{socket.gethostname()}_{os.getpid()}.tsv"

    def add(self, name: str, reason: str) -> None:
        """Count a broken image, name it in the report, and judge the share of those read so far.

        Raises:
            UserError: As :meth:`judge`.
        """
        written = self.count(name, reason)
        if written and self.broken == 1:
            _log.warning("broken image %s\t%s; all are named in %s", name, reason, self.file)
        self.judge()

    def count(self, name: str, reason: str) -> bool:
        """Count a broken image, and name it in the report, once; returns whether that could be written."""
        self.read, self.broken = self.read + 1, self.broken + 1
        if name in self.reasons:
            return True
        self.reasons[name] = reason
        return self._write(f"{printable(name)}\t{printable(reason)}\n".encode("utf-8", "backslashreplace"))

    def judge(self) -> None:
        """Compare the share of the broken with ``max_broken``.

        Raises:
            UserError: More than ``max_broken`` of the images read are broken, and at least ten different ones.
        """
        if len(self.reasons) >= LEAST and self.broken > self.max_broken * self.read:
            first = ", ".join(f"{name} ({reason})" for name, reason in list(self.reasons.items())[:3])
            raise UserError(
                f"{self.broken} of {self.read} images read are broken, more than max_broken={self.max_broken}: "
                f"{first} ...; all are named in {self.report}; mend or remove them, or raise max_broken"
            )

    def sum_up(self, source: str) -> None:
        """Judge once all images of a source have been read, and say, once in this process, how many there are.

        Raises:
            UserError: As :meth:`judge`.
        """
        self.judge()
        told = f"; {self.broken} are broken, all named in {self.file}" if self.broken else ""
        _say(
            logging.WARNING if self.broken else logging.INFO,
            f"{self.read - self.broken} of {self.read} images of {source} are read{told}",
        )

    def _write(self, line: bytes) -> bool:
        try:
            self.report.mkdir(parents=True, exist_ok=True)
            with self.file.open("a+b") as lines:
                if self._named is None:  # what another data set of this process has named
                    lines.seek(0)
                    self._named = set(lines)
                if line not in self._named:
                    lines.write(line)
        except OSError as error:
            _log.warning("broken image %s; the report can't be written: %s", line.decode().strip(), error)
            return False
        return True


@cache
def _say(level: int, line: str) -> None:
    """Log a line once in this process."""
    _log.log(level, "%s", line)


def candidates(seed: int, index: int, count: int) -> Iterator[int]:
    """The image that sample ``index`` shows, of ``count``, and those that stand in for it while it is broken."""
    yield index % count
    for attempt in range(100):
        yield int(draw(seed, f"stand-in {attempt}", np.array([index]), count)[0])
    raise UserError("100 images in turn are broken; mend or remove those that the report names")
