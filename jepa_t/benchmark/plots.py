"""The plots of a report. Each gives its file's name, or nothing where it has nothing to show."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import optional
from .records import Record, curve, curved, outcomes
from .statistics import interval

COST = "ms per picture"
SHARE = "share all right"
SHOWN = 6  # figures side by side
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


def _keep(figure: Any, folder: Path, *names: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", "_".join(names).lower()) + ".png"
    figure.savefig(folder / name, dpi=160, bbox_inches="tight", metadata={"Software": None})
    pyplot().close(figure)
    return name


def _look(row: int) -> dict[str, Any]:
    return {"color": f"C{row % 10}", "marker": MARKERS[row % len(MARKERS)], "ls": STYLES[row % len(STYLES)]}


def _title(figure: str) -> str:
    """``unseen/located/all`` as words on two lines."""
    first, _, rest = figure.removesuffix("/all").replace("_", " ").partition("/")
    return f"{first}\n{rest.replace('/', ', ')}".strip()


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two positive numbers."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    return [tick for power in powers for tick in (10**power, 2 * 10**power, 5 * 10**power) if low <= tick <= high]


def dots(folder: Path, name: str, arms: Sequence[str], figures: Sequence[str], records: Sequence[Record]) -> str:
    """Every seed a dot, the mean with its interval beside it."""
    shown = [figure for figure in figures if any(figure in record["outcomes"] for record in records)][:SHOWN]
    if not shown:
        return ""
    plot, axes = pyplot().subplots(
        1, len(shown), figsize=(2.2 * len(shown) + 1.5, 0.33 * len(arms) + 1.1), sharey=True, squeeze=False
    )
    for axis, figure in zip(axes[0], shown, strict=True):
        for row, arm in enumerate(arms):
            found = outcomes(records, arm, figure)
            if not found:
                continue
            value = interval(list(found.values()))
            axis.plot([value.low, value.high], [row, row], color=f"C{row % 10}", linewidth=2)
            axis.plot([o.mean() for o in found.values()], [row] * len(found), "o", color="black", ms=3, alpha=0.6)
            axis.plot(value.mean, row, "|", color=f"C{row % 10}", ms=12, mew=2)
        axis.set(xlim=(-0.04, 1.04), yticks=range(len(arms)), yticklabels=arms)
        axis.set_title(_title(figure), fontsize=10)
        axis.grid(alpha=0.3)
    axes[0][0].invert_yaxis()
    plot.supxlabel(f"{SHARE}: seeds, mean, 95 % interval", fontsize=10, y=-0.3 / (0.33 * len(arms) + 1.1))
    return _keep(plot, folder, name, "dots")


def curves(folder: Path, name: str, arms: Sequence[str], figures: Sequence[str], records: Sequence[Record]) -> str:
    """Accuracy against steps: a thin line per seed, a thick one for their mean."""
    shown = curved(figures, records)
    if not shown or any(record.get("series") for record in records):
        return ""
    plot, axes = pyplot().subplots(1, len(shown), figsize=(4.6 * len(shown), 3.4), sharey=True, squeeze=False)
    for axis, figure in zip(axes[0], shown, strict=True):
        for row, arm in enumerate(arms):
            lines = [curve(record, figure) for record in records if record["arm"] == arm]
            for points in lines:
                axis.plot(*zip(*sorted(points.items()), strict=True), color=f"C{row % 10}", lw=0.6, alpha=0.5)
            steps = sorted(set.intersection(*map(set, lines)))  # a run that was cut short may lack a point
            means = [np.mean([points[step] for points in lines]) for step in steps]
            axis.plot(steps, means, lw=2, ms=4, label=arm, **_look(row))
        axis.set(xlabel="steps", title=_title(figure), ylim=(-0.03, 1.03))
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel(f"{SHARE} (validation)")
    axes[0][-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return _keep(plot, folder, name, "curves")


def scans(folder: Path, name: str, arms: Sequence[str], figures: Sequence[str], records: Sequence[Record]) -> str:
    """Accuracy against the number of training scans, a line per fusion; of the data suite alone."""
    lines = _lines(arms, records)
    if not lines:
        return ""
    shown = figures[:2] + [figure for figure in figures if figure == "frechet"]
    plot, axes = pyplot().subplots(1, len(shown), figsize=(4.2 * len(shown), 3), squeeze=False)
    for axis, figure in zip(axes[0], shown, strict=True):
        for row, (fusion, points) in enumerate(lines.items()):
            values = [interval(list(outcomes(records, arm, figure).values())) for arm in points.values()]
            means, sizes = [value.mean for value in values], [size * 1.02**row for size in points]  # beside each other
            errors = [[v.mean - v.low for v in values], [v.high - v.mean for v in values]]
            axis.errorbar(sizes, means, yerr=errors, ms=4, capsize=3, label=fusion, **_look(row))
        ticks = sorted({size for points in lines.values() for size in points})
        axis.set(xscale="log", xlabel="training scans", title=_title(figure))
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel(SHARE)
    axes[0][-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return _keep(plot, folder, name, "scans")


def _lines(arms: Sequence[str], records: Sequence[Record]) -> Mapping[str, dict[int, str]]:
    """Arms by their line's name and their number of scans."""
    series = {record["arm"]: record["series"] for record in records if record.get("series")}
    lines: dict[str, dict[int, str]] = {}
    for arm in arms:
        if arm in series:
            line, size = series[arm]
            lines.setdefault(line, {})[size] = arm
    return lines


def costs(folder: Path, name: str, arms: Sequence[str], figures: Sequence[str], records: Sequence[Record]) -> str:
    """Accuracy against time per image; of the sampler suite alone."""
    if COST not in records[0]["metrics"]:
        return ""
    shown = figures[:2] + [figure for figure in figures if figure in ("frechet", "residual")]
    plot, axes = pyplot().subplots(1, len(shown), figsize=(4.2 * len(shown), 3), squeeze=False)
    lined = {record["arm"] for record in records if record.get("line")}  # in a plot of their own
    single = [arm for arm in arms if arm not in lined]
    for axis, figure in zip(axes[0], shown, strict=True):
        for row, arm in enumerate(single):
            cost = interval(list(outcomes(records, arm, COST).values())).mean
            found = list(outcomes(records, arm, figure).values())
            if not found:
                continue
            value = interval(found)
            error = [[value.mean - value.low], [value.high - value.mean]]
            axis.errorbar(cost, value.mean, yerr=error, ms=5, capsize=3, label=arm, **_look(row))
        axis.set(xscale="log", xlabel=COST, title=_title(figure))
        span = axis.get_xlim()
        axis.set_xticks(ticks := _round_numbers(*span), [f"{tick:g}" for tick in ticks])
        axis.set_xlim(span)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel(SHARE)
    axes[0][-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return _keep(plot, folder, name, "cost")


def trades(folder: Path, name: str, arms: Sequence[str], figures: Sequence[str], records: Sequence[Record]) -> str:
    """Accuracy against likeness, a line per preset over the guidance scale; of the sampler suite alone."""
    lines, likeness = _presets(arms, records), [f for f in figures if f in ("frechet", "residual")]
    if not lines or not likeness:
        return ""
    shown = figures[:2]
    plot, axes = pyplot().subplots(1, len(shown), figsize=(4.6 * len(shown), 3.4), sharey=True, squeeze=False)

    def mean(arm: str, figure: str) -> float:
        return interval(list(outcomes(records, arm, figure).values())).mean

    for axis, figure in zip(axes[0], shown, strict=True):
        for row, preset in enumerate(dict.fromkeys(preset for preset, _ in lines.values())):
            mine = {arm: scale for arm, (of, scale) in lines.items() if of == preset}
            x, y = [mean(arm, likeness[0]) for arm in mine], [mean(arm, figure) for arm in mine]
            axis.plot(x, y, label=preset, ms=5, **_look(row))
            for scale, *place in zip(mine.values(), x, y, strict=True):
                axis.annotate(f"{scale:g}", place, fontsize=7, xytext=(3, 3), textcoords="offset points")
        axis.set(xlabel=f"{likeness[0]} (lower is closer)", title=_title(figure))
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel(SHARE)
    axes[0][-1].legend(fontsize=8, title="at guidance scales", loc="upper left", bbox_to_anchor=(1, 1))
    return _keep(plot, folder, name, "trade")


def _presets(arms: Sequence[str], records: Sequence[Record]) -> dict[str, tuple[str, float]]:
    """Of the arms that are a preset at a given guidance scale, which; of the first config, if there are several."""
    lines = {record["arm"]: tuple(record["line"]) for record in records if record.get("line")}
    found: dict[tuple[str, float], str] = {}
    for arm in arms:
        if arm in lines:
            found.setdefault(lines[arm], arm)
    return {arm: line for line, arm in found.items()}


PLOTS = (dots, curves, scans, costs, trades)
