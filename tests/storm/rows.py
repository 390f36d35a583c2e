"""A line of the table that a storm makes."""

from dataclasses import dataclass, field

SHOWN = 100  # faults of a row that are printed


@dataclass
class Row:
    """What was tried how often, and what went wrong.

    Attributes:
        what: What was tried.
        tried: How often.
        faults: What went wrong, a line each.
        facts: What else is worth knowing.
        seconds: Processor time.
    """

    what: str
    tried: int = 0
    faults: list[str] = field(default_factory=list)
    facts: str = ""
    seconds: float = 0.0

    def wrong(self, line: str) -> None:
        """Note what went wrong, and show the first such lines at once."""
        self.faults.append(line)
        if len(self.faults) <= SHOWN:
            print(f"    {line}", flush=True)


def table(rows: list[Row]) -> str:
    """Rows as a table in Markdown."""
    lines = ["| what | tried | wrong | beside that |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.tried:,} | {len(row.faults)} | {row.facts} |" for row in rows]
    return "\n".join(lines)
