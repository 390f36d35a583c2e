"""What is done about samples that can't be read: they are counted, named, and replaced."""

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import UserError, check_share, printable
from .hashing import draw

REPORT = "work_dirs/broken_images"
LEAST = 10  # broken images, not readings of them, before their share is judged


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

    def add(self, name: str, reason: str) -> None:
        """Count a broken image, and name it in the report.

        Raises:
            UserError: More than ``max_broken`` of the images read are broken, and at least ten different ones.
        """
        self.read, self.broken = self.read + 1, self.broken + 1
        if name not in self.reasons:
            self.reasons[name] = reason
            self._write(f"{printable(name)}\t{printable(reason)}\n")
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
            with file.open("a", encoding="utf-8", errors="backslashreplace") as lines:
                lines.write(line)
        except OSError as error:
            log.warning("broken image %s; the report can't be written: %s", line.strip(), error)
            return
        if len(self.reasons) == 1:
            log.warning("broken image %s; all are named in %s", line.strip(), file)


def candidates(seed: int, index: int, count: int) -> Iterator[int]:
    """The image that sample ``index`` shows, of ``count``, and those that stand in for it while it is broken."""
    yield index % count
    for attempt in range(100):
        yield int(draw(seed, f"stand-in {attempt}", np.array([index]), count)[0])
    raise UserError("100 images in turn are broken; mend or remove those that the report names")
