"""What the metrics of prompts share: verdicts, one per image, and what becomes of them."""

from collections.abc import Mapping, Sequence

Columns = dict[str, list[bool]]  # by the figure's name: whether each image is right


def swap_group(records: Sequence[dict]) -> list[bool]:
    """For each pair of swapped prompts (equal ``facts["group"]``): whether both are right in all."""
    groups: dict[int, bool] = {}
    for record in records:
        if "group" in record["facts"]:
            group = record["facts"]["group"]
            groups[group] = groups.get(group, True) and record["verdict"]["all"]
    return list(groups.values())


def shares(columns: Mapping[str, Sequence[bool]]) -> dict[str, float]:
    """The share of right ones in each column that has any."""
    return {name: sum(column) / len(column) for name, column in columns.items() if column}
