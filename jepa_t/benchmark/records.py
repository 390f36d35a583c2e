"""What a run leaves, read as numbers: outcomes by seed, and learning curves."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Record = dict[str, Any]  # from `runs.execute`, with its suite's task, arm, seed and parameters


def outcomes(records: Iterable[Record], arm: str, figure: str) -> dict[int, np.ndarray]:
    """By seed the outcome of each prompt of a figure; for one that is no share, its value alone."""
    found = {}
    for record in records:
        if record["arm"] == arm and figure in record["metrics"]:
            kept = record["outcomes"].get(figure)
            found[record["seed"]] = np.array([*map(int, kept)] if kept else [record["metrics"][figure]], float)
    return found


def arms_of(records: Iterable[Record]) -> list[str]:
    """The arms as they were planned, whichever run failed."""
    places: dict[str, int] = {}
    for record in records:
        places.setdefault(record["arm"], record.get("place", len(places)))
    return sorted(places, key=places.__getitem__)


def curve(record: Record, figure: str) -> dict[int, float]:
    """A figure over the steps of training, on validation prompts; steps of the reference, where compute is equal."""
    points, each = record.get("curve", {}).items(), record.get("budget", record["steps"]) / record["steps"]
    return {round(int(step) * each): point[figure] for step, point in points if figure in point}


def curved(figures: Sequence[str], records: Iterable[Record]) -> list[str]:
    """The first two figures that have a curve."""
    return [figure for figure in figures if any(curve(record, figure) for record in records)][:2]
