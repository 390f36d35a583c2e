"""Files that a stranger made: each is refused in a line, runs nothing, reaches nothing outside, and costs little."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import children
import hostile_checkpoints
import hostile_data
import hostile_models
from rows import Row

from jepa_t.data.broken import BrokenSample
from jepa_t.errors import UserError

MEMORY, PROCESSOR = 2**30, 30  # bytes and seconds of the processor that reading one may cost
HELD = 200 * 2**20  # bytes that it may really hold


@dataclass(frozen=True)
class Hostile:
    """A hostile file.

    Attributes:
        name: What is wrong with it.
        make: Writes it into a folder.
        read: Reads it as a user's command would, from within that folder.
        harmless: Whether it may be read, since it does no harm.
    """

    name: str
    make: Callable[[Path], object]
    read: Callable[[], object]
    harmless: bool = False


def cases() -> list[Hostile]:
    """All of them."""
    found = []
    for module in (hostile_models, hostile_checkpoints, hostile_data):
        found += [Hostile(*case) for case in module.cases()]
    return found


def storm(count: int, random: Random) -> Row:
    """Read hostile files, ``count`` of them drawn at random or all, each in a child under guard."""
    row, held, read = Row("hostile files"), 0, 0
    every = cases()
    for case in every if count >= len(every) else random.sample(every, count):
        with children.scratch() as outside:
            folder = outside / "inside"
            folder.mkdir()
            case.make(folder)
            ended = children.run(
                lambda: _read(case),  # noqa: B023
                folder,
                timeout=900,
                memory=MEMORY,
                processor=PROCESSOR,
                guard=True,
            )
            row.tried += 1
            for fault in _faults(case, ended):
                row.wrong(fault)
            held, read = max(held, ended.grown), read + (ended.code == 0)
            if ended.grown > HELD:
                row.wrong(f"{case.name}: held {ended.grown / 2**20:.0f} MB")
    row.facts = f"{row.tried - read} refused, {read} harmless; at most {held / 2**20:.0f} MB held"
    return row


def _read(case: Hostile) -> int:
    try:
        case.read()
    except (UserError, BrokenSample) as error:
        print(f"told: {error}")
        return 2
    return 0


def _faults(case: Hostile, ended: children.Ended) -> list[str]:
    line = ended.said.partition("told: ")[2].strip()
    if (ended.code == 0 and case.harmless) or (ended.code == 2 and line and "\n" not in line):
        return []
    what = {99: "reached out", 0: "accepted", 2: "not one line"}.get(ended.code, f"code {ended.code}")
    return [f"{case.name}: {what}: {ended.line}"]
