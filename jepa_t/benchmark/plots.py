"""The plots of a report. Each gives its file's name, or nothing where it has nothing to show."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import optional
from ..files import write_atomically
from .records import Record, curve, curved, outcomes
from .statistics import Interval, interval

COST = "ms per picture"
SHARE = "share right"
SHOWN = 6  # figures side by side
COLOURS = 10  # by which arms are told apart
STYLES = "-", "--", ":"  # of lines, and
MARKERS = "osv^DPX"  # of points, so that colour alone tells no arms apart


def pyplot() -> Any:
    """matplotlib's ``pyplot``, drawing into files.

    Raises:
        UserError: It isn't installed.
    """
    matplotlib = optional("matplotlib", "the benchmark's report", "benchmark")
    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot


def dots(folder: Path, name: str, arms: Sequence[str], figures: Sequence[str], records: Sequence[Record]) -> str:
    """Every seed a dot, the mean with its interval beside it."""
    shown = [figure for figure in figures if any(figure in record.outcomes for record in records)][:SHOWN]
    if not shown:
        return ""
    height = 0.33 * len(arms) + 1.1
    plot, axes = _axes(shown, 2.2 * len(shown) + 1.5, height, size=10, sharey=True)
    for axis, figure in zip(axes, shown, strict=True):
        for row, arm in enumerate(arms):
            found = outcomes(records, arm, figure)
            if not found:
                continue
            value = interval(list(found.values()))
            axis.plot([value.low, value.high], [row, row], color=f"C{row % 10}", linewidth=2)
            axis.plot([o.mean() for o in found.values()], [row] * len(found), "o", color="black", ms=3, alpha=0.6)
            axis.plot(value.mean, row, "|", color=f"C{row % 10}", ms=12, mew=2)
        axis.set(xlim=(-0.04, 1.04), yticks=range(len(arms)), yticklabels=arms)
    axes[0].invert_yaxis()
    plot.supxlabel(f"{SHARE}: seeds, mean, 95 % interval", fontsize=10, y=-0.3 / height)
    return _keep(plot, folder, name, "dots")


def curves(folder: Path, name: str, arms: Sequence[str], figures: Sequence[str], records: Sequence[Record]) -> str:
    """Accuracy against steps: a thin line per seed, a thick one for their mean; of many arms those of most seeds."""
    shown = curved(figures, records)
    if not shown or any(record.series for record in records):
        return ""
    if len(arms) > COLOURS:
        seeds = Counter(record.arm for record in records)
        arms = [arm for arm in arms if seeds[arm] == max(seeds.values())]
    plot, axes = _axes(shown, 4.6 * len(shown), 3.4, sharey=True)
    for axis, figure in zip(axes, shown, strict=True):
        for row, arm in enumerate(arms):
            lines = [curve(record, figure) for record in records if record.arm == arm]
            for points in lines:
                axis.plot(*zip(*sorted(points.items()), strict=True), color=f"C{row % 10}", lw=0.6, alpha=0.5)
            steps = sorted(set.intersection(*map(set, lines)))  # a run that was cut short may lack a point
            means = [np.mean([points[step] for points in lines]) for step in steps]
            axis.plot(steps, means, lw=2, ms=4, label=arm, **_look(row))
        axis.set(xlabel="steps", ylim=(-0.03, 1.03))
    _legend(axes, f"{SHARE} (validation)")
    return _keep(plot, folder, name, "curves")


def scans(folder: Path, name: str, arms: Sequence[str], figures: Sequence[str], records: Sequence[Record]) -> str:
    """Accuracy against the number of training scans, a line per fusion; of the data suite alone."""
    lines = _lines(arms, {record.arm: record.series for record in records if record.series})
    if not lines:
        return ""
    shown = figures[:2] + [figure for figure in figures if figure == "frechet"]
    plot, axes = _axes(shown, 4.2 * len(shown), 3)
    for axis, figure in zip(axes, shown, strict=True):
        for row, (fusion, points) in enumerate(lines.items()):
            values = [_value(records, arm, figure) for arm in points.values()]
            sizes = [size * 1.02**row for size in points]  # beside each other
            errors = [[v.mean - v.low for v in values], [v.high - v.mean for v in values]]
            axis.errorbar(sizes, [v.mean for v in values], yerr=errors, ms=4, capsize=3, label=fusion, **_look(row))
        axis.set(xscale="log", xlabel="training scans")
        _ticks(axis, sorted(set().union(*lines.values())))
    _legend(axes, SHARE)
    return _keep(plot, folder, name, "scans")


def costs(folder: Path, name: str, arms: Sequence[str], figures: Sequence[str], records: Sequence[Record]) -> str:
    """Accuracy against time per image; of the sampler suite alone."""
    if COST not in records[0].metrics:
        return ""
    shown = figures[:2] + [figure for figure in figures if figure in ("frechet", "residual")]
    plot, axes = _axes(shown, 4.2 * len(shown), 3)
    lined = {record.arm for record in records if record.line}  # in a plot of their own
    single = [arm for arm in arms if arm not in lined]
    for axis, figure in zip(axes, shown, strict=True):
        for row, arm in enumerate(single):
            if value := _value(records, arm, figure):
                cost, error = _value(records, arm, COST).mean, [[value.mean - value.low], [value.high - value.mean]]
                axis.errorbar(cost, value.mean, yerr=error, ms=5, capsize=3, label=arm, **_look(row))
        axis.set(xscale="log", xlabel=COST)
        span = axis.get_xlim()
        _ticks(axis, _round_numbers(*span))
        axis.set_xlim(span)
    _legend(axes, SHARE)
    return _keep(plot, folder, name, "cost")


def trades(folder: Path, name: str, arms: Sequence[str], figures: Sequence[str], records: Sequence[Record]) -> str:
    """Accuracy against likeness, a line per preset over the guidance scale; of the sampler suite alone."""
    lines = _lines(arms, {record.arm: record.line for record in records if record.line})
    likeness = [f for f in figures if f in ("frechet", "residual")]
    if not lines or not likeness:
        return ""
    shown = figures[:2]
    plot, axes = _axes(shown, 4.6 * len(shown), 3.4, sharey=True)
    for axis, figure in zip(axes, shown, strict=True):
        for row, (preset, scales) in enumerate(lines.items()):
            x, y = ([_value(records, arm, f).mean for arm in scales.values()] for f in (likeness[0], figure))
            axis.plot(x, y, label=preset, ms=5, **_look(row))
            for scale, *place in zip(scales, x, y, strict=True):
                axis.annotate(f"{scale:g}", place, fontsize=7, xytext=(3, 3), textcoords="offset points")
        axis.set(xlabel=f"{likeness[0]} (lower is closer)")
    _legend(axes, SHARE, title="at guidance scales")
    return _keep(plot, folder, name, "trade")


PLOTS = (dots, curves, scans, costs, trades)


def _lines(arms: Sequence[str], points: Mapping[str, Sequence]) -> dict[str, dict[float, str]]:
    """Arms by their line's name and their place on it, the first there is."""
    found: dict[str, dict[float, str]] = {}
    for arm in filter(points.__contains__, arms):
        line, place = points[arm]
        found.setdefault(line, {}).setdefault(place, arm)
    return found


def _value(records: Sequence[Record], arm: str, figure: str) -> Interval | None:
    found = outcomes(records, arm, figure)
    return interval(list(found.values())) if found else None


def _axes(
    figures: Sequence[str], width: float, height: float, size: int = 12, **options: Any
) -> tuple[Any, Sequence[Any]]:
    """Axes side by side, each with a figure's name on two lines: ``unseen/located/all``."""
    plot, axes = pyplot().subplots(1, len(figures), figsize=(width, height), squeeze=False, **options)
    for axis, figure in zip(axes[0], figures, strict=True):
        first, _, rest = figure.removesuffix("/all").replace("_", " ").partition("/")
        axis.set_title(f"{first}\n{rest.replace('/', ', ')}".strip(), fontsize=size)
        axis.grid(alpha=0.3)
    return plot, axes[0]


def _legend(axes: Sequence[Any], label: str, **options: Any) -> None:
    axes[0].set_ylabel(label)
    axes[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), **options)


def _look(row: int) -> dict[str, Any]:
    return {"color": f"C{row % 10}", "marker": MARKERS[row % len(MARKERS)], "ls": STYLES[row % len(STYLES)]}


def _ticks(axis: Any, ticks: Sequence[float]) -> None:
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two positive numbers."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    return [tick for power in powers for tick in (10**power, 2 * 10**power, 5 * 10**power) if low <= tick <= high]


def _keep(figure: Any, folder: Path, *names: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", "_".join(names).lower()) + ".png"
    write_atomically(
        folder / name,
        lambda file: figure.savefig(file, format="png", dpi=160, bbox_inches="tight", metadata={"Software": None}),
    )
    pyplot().close(figure)
    return name
