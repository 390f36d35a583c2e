"""Times taken in turn in one process, and their ratios."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .cost import Cost, peak
from .records import Record

ROUNDS, LEAST = 9, 5  # counted rounds: so many, or fewer where time is short, but at least five pairs


@dataclass(frozen=True)
class Timed:
    """One arm of a task.

    Attributes:
        run: What is timed.
        cost: Of one image of it, if that is known.
        images: How many it makes or learns from.
        optional: Whether it is left out where time is short.
        calls: Before it is counted; what is compiled meets its kinds of inputs in the first few.
    """

    run: Callable[[], Any]
    cost: Cost | None = None
    images: int = 1
    optional: bool = False
    calls: int = 1


Arms = dict[str, Timed]


def time_arms(task: str, arms: Arms, seconds: float) -> list[Record]:
    """Time the arms of a task: a record of each, with its times as shares of the first arm's.

    Args:
        task: Its title.
        arms: The first is the reference; if there are none, there is nothing to say.
        seconds: About what it may take.
    """
    if not arms:
        return []
    reference, *others = arms
    first = warm_up({reference: arms[reference]})
    if any(arm.optional for arm in arms.values()):
        unit = first[reference] / arms[reference].cost.total
        if LEAST * unit * sum(arm.cost.total for arm in arms.values()) > seconds:
            others = [name for name in others if not arms[name].optional]
    arms = {name: arms[name] for name in (reference, *others)}
    first |= warm_up({name: arms[name] for name in others})
    reached = peak(device(), dtype())
    times = interleave({name: arm.run for name, arm in arms.items()}, ROUNDS, seconds)
    records: list[Record] = []
    for name, taken in times.items():
        ratios = [one / other for one, other in zip(taken, times[reference], strict=True)]
        row = {"task": task, "arm": name, "seed": 0, "ratios": ratios, "metrics": {}, "first": 1000 * first[name]}
        row["milliseconds"] = 1000 * statistics.median(taken)
        if found := arms[name].cost:
            operations = found.total * arms[name].images
            row |= {"network": found.network, "head": found.head, "gigaflops": operations / 1e9, "flops": found.flops}
            row |= {"images": arms[name].images, "share of peak": operations / statistics.median(taken) / reached}
        records.append(row)
    return records


def warm_up(arms: Mapping[str, Timed]) -> dict[str, float]:
    """Seconds of the first calls of each: what is compiled or remembered then is never in a ratio."""
    return {name: sum(_seconds(arm.run) for _ in range(arm.calls)) for name, arm in arms.items()}


def interleave(
    functions: Mapping[str, Callable[[], Any]], rounds: int, seconds: float = math.inf
) -> dict[str, list[float]]:
    """Seconds of each function in each round: A B C, A B C, so that a busy neighbour slows all alike.

    Args:
        functions: By name.
        rounds: How many.
        seconds: After which no round beyond :data:`LEAST` begins.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    started = time.perf_counter()
    for done in range(rounds):
        if done >= LEAST and time.perf_counter() - started > seconds:
            break
        for name, function in functions.items():
            times[name].append(_seconds(function))
    return times


def _seconds(function: Callable[[], Any]) -> float:
    _wait()
    started = time.perf_counter()
    function()
    _wait()
    return time.perf_counter() - started


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def device() -> str:
    """Where things are timed: a GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def dtype() -> torch.dtype:
    """What matrix products are computed in there."""
    return torch.bfloat16 if device() == "cuda" else torch.float32


def cast() -> torch.autocast:
    """What all arms of sampling and training compute in."""
    return torch.autocast(device(), torch.bfloat16, enabled=dtype() is torch.bfloat16)
