"""Names long sentences and wide table cells of Markdown pages: ``python docs/site/prose.py PAGE ...``."""

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
    """The sentences of more than 40 words, and the table cells of more than 200 characters."""
    for block in STARTS_ANEW.split(CODE.sub("\n\n", markdown)):
        text = re.sub(r"\]\([^)]*\)", "]", block).strip()
        if text.startswith("|"):
            yield from (cell for cell in map(str.strip, text.split("|")) if len(cell) > CHARACTERS)
        else:
            sentences = (" ".join(sentence.split()) for sentence in SENTENCE_ENDS.split(text))
            yield from (sentence for sentence in sentences if len(sentence.split()) > WORDS)


def main(pages: list[str]) -> int:
    """Print what is too long in each page; 1 if anything is."""
    found = [f"{page}: {text}" for page in pages for text in too_long(Path(page).read_text(encoding="utf-8"))]
    print("\n".join(found) or "nothing is too long")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
