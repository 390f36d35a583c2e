"""What a report says first: what each comparison found, with a link to it."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .records import Record, Timing, arms_of, outcomes
from .statistics import interval, paired

NAMED = 4  # arms; of more, the number is said


@dataclass(frozen=True)
class Finding:
    """What one comparison found.

    Attributes:
        title: Of its section: the suite, a colon, the task.
        says: A sentence.
        best: The arm with the highest share, of those with several seeds; empty where no interval over trainings tells,
            as of a single seed or of timings.
        behind: Of the other arms, those that the best is ahead of by an interval that excludes 0.
        level: The others.
    """

    title: str
    says: str
    best: str = ""
    behind: Sequence[str] = ()
    level: Sequence[str] = ()


def compared(title: str, figures: Sequence[str], records: Sequence[Record]) -> Finding:
    """Which arm is best by the first figure that is a share, and which others an interval tells from it.

    Seeds are paired, so arms are compared that share at least two with the best; of the others hints are named.
    """
    figure = next((name for name in figures if any(name in record.outcomes for record in records)), None)
    arms = {arm: outcomes(records, arm, figure) for arm in arms_of(records)} if figure else {}
    means = {arm: float(np.mean([one.mean() for one in found.values()])) for arm, found in arms.items() if found}
    if not means:
        return Finding(title, "no figure that is a share was kept.")
    ranked = sorted(means, key=lambda arm: -means[arm])
    if len(ranked) == 1:
        return Finding(title, f"`{ranked[0]}` reaches {means[ranked[0]]:.3f} by `{figure}`.")
    first = next((arm for arm in ranked if len(arms[arm]) > 1), ranked[0])
    told = [arm for arm in ranked if len(arms[first].keys() & arms[arm].keys()) > 1]
    if len(told) < 2:
        return Finding(title, f"{_best(ranked, means, figure)}; seeds are too few for an interval, so it is a hint.")
    best, *others = told
    hints = [arm for arm in ranked if arm not in told]
    behind = [arm for arm in others if interval(paired(arms[best], arms[arm]), signed=True).low > 0]
    level = [arm for arm in others if arm not in behind]
    says = f"{_best(told, means, figure, ' with several seeds' if hints else '')}; ahead of {_ahead(behind, level)}"
    if hints:
        named = [f"`{arm}` {means[arm]:.3f}" for arm in hints[:NAMED]]
        others = f" and {len(hints) - NAMED} more" if len(hints) > NAMED else ""
        says += f". Hints, with too few seeds for an interval: {', '.join(named)}{others}"
    return Finding(title, f"{says}.", best, behind, [*level, *hints])


def _best(arms: Sequence[str], means: Mapping[str, float], figure: str | None, which: str = "") -> str:
    """That the first of some arms is best, or all are equal."""
    value = f"{means[arms[0]]:.3f} by `{figure}`"
    if len({means[arm] for arm in arms}) == 1:
        return f"all arms{which} have {value}"
    return f"`{arms[0]}` is best{' of the arms' if which else ''}{which}, {value}"


def _ahead(behind: Sequence[str], level: Sequence[str]) -> str:
    if not behind or not level:
        return "none of the others" if level else "all others"
    if len(behind) + len(level) > NAMED:
        return f"{len(behind)} of {len(behind) + len(level)} others"
    return f"{_names(behind)}, but not of {_names(level)}"


def _names(arms: Sequence[str]) -> str:
    *first, last = (f"`{arm}`" for arm in arms)
    return f"{', '.join(first)} and {last}" if first else last


def fastest(title: str, timings: Sequence[Timing]) -> Finding:
    """Which arm is fastest."""
    reference = timings[0].arm
    quickest = min(timings, key=lambda timing: float(np.median(timing.ratios)))
    if quickest.arm == reference:
        return Finding(title, f"`{reference}` is fastest.")
    return Finding(title, f"`{quickest.arm}` is {times(quickest.ratios)} times as fast as `{reference}`.")


def times(ratios: Sequence[float]) -> str:
    """How many times as fast: the median, and the range."""
    faster = sorted(1 / ratio for ratio in ratios)
    return f"{float(np.median(faster)):.2f} ({faster[0]:.2f} to {faster[-1]:.2f})"


def overview(findings: Sequence[Finding]) -> str:
    """The first paragraph of a report, what each suite found, and the table of contents."""
    told = [finding for finding in findings if finding.best]
    parts = ["No trained variants are compared here with more than one seed."]
    if told:
        alone = sum(not finding.level for finding in told)
        some = sum(bool(finding.level and finding.behind) for finding in told)
        parts = [
            f"Of {len(told)} comparison{'s' * (len(told) > 1)} with more than one seed, the best variant is ahead of "
            f"all others in {alone}, of some in {some}, and of none in {len(told) - alone - some}. What each suite of "
            "comparisons found:",
            "\n".join(_suite(name, told) for name in dict.fromkeys(map(_suite_of, told))),
            "A variant is called an *arm*. The *best* has the highest share of right images, by the first share in its "
            "table. It is *ahead* of another where the 95 % interval of their paired difference excludes 0. The best "
            "of several is the luckiest too, so its own figure flatters it.",
        ]
    lines = [f"- [{finding.title}](#{anchor(finding.title)}): {finding.says}" for finding in findings]
    return "\n\n".join([*parts, "## Contents", "\n".join(lines)])


def _suite_of(finding: Finding) -> str:
    return finding.title.partition(":")[0]


def _suite(name: str, told: Sequence[Finding]) -> str:
    """What the comparisons of a suite found, as an item of a list."""
    found = [finding for finding in told if _suite_of(finding) == name]
    if len(found) == 1:
        return f"- {found[0].title}: `{found[0].best}` is best, ahead of {_ahead(found[0].behind, found[0].level)}."
    often = Counter(finding.best for finding in found).most_common(NAMED)
    best = ", ".join(f"`{arm}` on {count}" for arm, count in often)
    always = [arm for arm in found[0].behind if all(arm in finding.behind for finding in found)]
    behind = f"{_names(always)} behind it on all" if always else "no arm behind it on all"
    return f"- {name}, {len(found)} tasks: best is {best}; {behind}."


def anchor(title: str) -> str:
    """The anchor of a heading, as GitHub and MkDocs make it."""
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", title.lower()))
