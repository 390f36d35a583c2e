"""The numbers of docs/benchmarks/claims.md are those of the report that it links to."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from jepa_t.benchmark.findings import anchor

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"
CLAIMS = {
    part.partition("\n")[0]: part for part in re.split(r"^##+ ", (FOLDER / "claims.md").read_text(), flags=re.M)[1:]
}
TABLES = {title: part for title, part in CLAIMS.items() if re.search(r"^\|.*\bright\b", part, re.M)}
ROUNDED = 0.00501
SPAN = re.compile(r"([-+]\d\.\d+)(?: to |, )([-+]\d\.\d+)")


def rows(part):
    """Of each row of a section's tables: its head and its cells."""
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [(lines[0], [cell.strip() for cell in line.strip("|").split("|")]) for line in lines[2:]]


def arm_of(head, cells):
    return re.findall(r"`(.+?)`", " | ".join(cells) + head)[0]


@pytest.fixture(scope="module")
def report():
    """By anchor: a section's text, and its records."""
    kept = json.loads((FOLDER / "results.json").read_text())["suites"]
    parts = re.split(r"^### ", (FOLDER / "report.md").read_text(), flags=re.M)[1:]
    sections = {}
    for part in parts:
        title = part.partition("\n")[0]
        suite, task = title.split(": ", 1)
        sections[anchor(title)] = part, [record for record in kept[suite]["records"] if record["task"] == task]
    return sections


def means(report, anchors, arm):
    records = [record for name in anchors for record in report[name][1] if record["arm"] == arm]
    return [
        np.mean([r["metrics"][name] for r in report[at][1] if r["arm"] == arm])
        for at in anchors
        for name in {name for record in records for name in record["metrics"]}
        if all(name in r["metrics"] for r in report[at][1] if r["arm"] == arm)
        and any(r["arm"] == arm for r in report[at][1])
    ]


def spans(report, anchors, arm):
    lines = [line for name in anchors for line in report[name][0].splitlines() if line.startswith(f"| {arm} |")]
    return [tuple(map(float, span)) for line in lines for span in SPAN.findall(line)]


@pytest.mark.parametrize("title", TABLES)
def test_each_number_of_a_claim_is_in_the_tables_that_it_links_to(title, report):
    part = TABLES[title]
    everywhere = re.findall(r"\(report\.md#(.+?)\)", part)
    assert rows(part)
    for head, cells in rows(part):
        anchors = re.findall(r"\(report\.md#(.+?)\)", " ".join(cells)) or everywhere
        arm = arm_of(head, cells)
        for cell in cells:
            if re.fullmatch(r"\d\.\d\d", cell):
                assert any(abs(mean - float(cell)) < ROUNDED for mean in means(report, anchors, arm)), (arm, cell)
            elif span := SPAN.fullmatch(cell):
                ends = tuple(map(float, span.groups()))
                found = spans(report, anchors, arm)
                assert any(max(abs(a - b) for a, b in zip(one, ends, strict=True)) < ROUNDED for one in found), cell


def test_claims_have_at_most_five_numbers_a_table_and_link_to_what_there_is(report):
    assert len(TABLES) > 10
    for part in TABLES.values():
        shares = [cell for _, cells in rows(part) for cell in cells if re.fullmatch(r"\d\.\d\d", cell)]
        assert 0 < len(shares) <= 5
    assert {name for part in CLAIMS.values() for name in re.findall(r"report\.md#(.+?)\)", part)} <= report.keys()
    plots = {name for part in CLAIMS.values() for name in re.findall(r"!\[.+?\]\((.+?)\)", part)}
    assert plots
    assert all((FOLDER / name).is_file() for name in plots)
