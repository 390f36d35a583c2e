"""The one reader of texts: UTF-8, no byte-order mark, and nothing that is no text."""

import re
from pathlib import Path

from ..errors import UserError

NO_TEXT = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters, and halves of surrogate pairs


class NotText(ValueError):
    """What isn't text; the message goes on after its name."""


def decode_text(data: bytes) -> str:
    """Bytes of a file as text.

    Raises:
        NotText: They aren't in UTF-8, or hold what is no text.
    """
    try:
        return check_text(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise NotText(f"isn't in UTF-8: byte {data[error.start]:#04x} at position {error.start}") from error


def check_text(text: str) -> str:
    """The text, without byte-order marks.

    Raises:
        NotText: It holds a control character, as UTF-16 read as UTF-8 does, or half of a surrogate pair.
    """
    if found := NO_TEXT.search(text):
        raise NotText(f"holds {found[0]!a}, which is no text; is it in UTF-8?")
    return text.replace("\ufeff", "")


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a text file, stripped; those that are empty or begin with ``#`` are left out.

    Args:
        path: The file.
        what: What it is for, in messages.

    Raises:
        UserError: A line isn't text; the message has its number.
    """
    lines = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            lines.append(decode_text(line).strip())
        except NotText as error:
            raise UserError(f"{what}: {path}, line {number} {error}; save the file as UTF-8") from error
    return [line for line in lines if line and not line.startswith("#")]
