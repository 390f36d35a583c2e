"""Times taken in turn in one process, and their ratios."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .cost import Cost
from .records import Timing

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
        times: How often what is timed makes up the whole, where that would take too long.
    """

    run: Callable[[], Any]
    cost: Cost | None = None
    images: int = 1
    optional: bool = False
    calls: int = 1
    times: float = 1.0


Arms = dict[str, Timed]


def time_arms(task: str, arms: Arms, seconds: float, **about: Any) -> list[Timing]:
    """Time the arms of a task, as shares of the first arm's times.

    Args:
        task: Its title.
        arms: The first is the reference; if there are none, there is nothing to say.
        seconds: About what it may take.
        **about: Versions and machine.
    """
    if not arms:
        return []
    reference, *others = arms
    first = warm_up({reference: arms[reference]})
    if LEAST * first[reference] * arms[reference].times * len(arms) > seconds:
        others = [name for name in others if not arms[name].optional]
    first |= warm_up({name: arms[name] for name in others})
    reached = peak(device(), dtype())
    times = interleave({name: arms[name].run for name in (reference, *others)}, ROUNDS, seconds)
    times = {name: [arms[name].times * one for one in taken] for name, taken in times.items()}
    timings = []
    for name, taken in times.items():
        ratios = [one / other for one, other in zip(taken, times[reference], strict=True)]
        median, spent = statistics.median(taken), _spent(arms[name])
        if spent:
            spent["share_of_peak"] = 1e9 * spent["gigaflops"] / median / reached
        timings.append(Timing(task, name, ratios, 1000 * median, 1000 * first[name], **about, **spent))
    return timings


def _spent(arm: Timed) -> dict[str, Any]:
    """What is known of the cost of an arm's call."""
    if arm.cost is None:
        return {}
    evaluations = {"network": arm.cost.network or None, "head": arm.cost.head or None}
    return evaluations | {
        "images": arm.images,
        "gigaflops": arm.cost.total * arm.images / 1e9,
        "flops": dict(arm.cost.flops),
    }


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


def peak(device: str, dtype: torch.dtype = torch.float32) -> float:
    """Operations per second of a large matrix product, the best of five: what the device reaches at all."""
    side = 8192 if device == "cuda" else 1536
    matrix, taken = torch.randn(side, side, device=device, dtype=dtype), []
    for _ in range(5):
        started = time.perf_counter()
        (matrix @ matrix)[0, 0].item()
        taken.append(time.perf_counter() - started)
    return 2 * side**3 / min(taken)
