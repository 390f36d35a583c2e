"""Names long sentences and wide table cells: ``python docs/site/prose.py PAGE_OR_FOLDER ...``."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

WORDS = 40  # of a sentence, at most
CHARACTERS = 200  # of a table's cell, at most
CODE = re.compile(r"^ *(```+|~~~+).*?^ *\1|\$\$.*?\$\$", re.MULTILINE | re.DOTALL)
STARTS_ANEW = re.compile(r"\n *\n|\n(?= *(?:[-*|#]|\d+\.) ?)")  # paragraphs, items, headings, rows
SENTENCE_ENDS = re.compile(r"(?<=[.!?:])[)*]*\s+(?=[A-Z`*\[])")


def too_long(markdown: str) -> Iterator[str]:
    """The sentences of more than 40 words, and the table cells of more than 200 characters, each with its length."""
    for block in STARTS_ANEW.split(CODE.sub("\n\n", markdown)):
        text = re.sub(r"\]\([^)]*\)", "]", block).strip()
        if text.startswith("|"):
            cells = map(str.strip, text.split("|"))
            yield from (f"{len(cell)} characters: {cell}" for cell in cells if len(cell) > CHARACTERS)
        else:
            sentences = (" ".join(sentence.split()) for sentence in SENTENCE_ENDS.split(text))
            yield from (f"{n} words: {one}" for one in sentences if (n := len(one.split())) > WORDS)


def pages(path: Path) -> list[Path]:
    """A page itself, or all Markdown pages of a folder."""
    return sorted(path.rglob("*.md")) if path.is_dir() else [path]


def main(paths: list[str]) -> int:
    """Print what is too long in each page, with its number of words or characters; 1 if anything is."""
    every = [page for path in paths for page in pages(Path(path))]
    found = [f"{page}: {text}" for page in every for text in too_long(page.read_text(encoding="utf-8"))]
    print("\n".join(found) or f"no long sentence or cell on {len(every)} pages")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
