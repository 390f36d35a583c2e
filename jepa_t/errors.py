"""The one exception that means "the user can mend this": tools print its line and leave with code 2."""

import importlib
import logging
import re
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral, Real
from types import ModuleType

LARGEST = 2**63  # beyond it whole numbers fit into no tensor
DEEPEST = 1000  # blocks of a network
COMMANDING = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f]")  # characters that a terminal may obey; not the tabulator
LISTED = 30  # of more choices only the nearest are told


class UserError(ValueError):
    """A user's mistake, told in one line: the field, the value found, and the remedy.

    Examples:
        >>> from jepa_t.sampling import MaskedSampler
        >>> MaskedSampler(temperature=-1.0)
        Traceback (most recent call last):
        jepa_t.errors.UserError: sampler.temperature is -1.0; use 0 (the likeliest), 1 (as learned) or more
    """

    def __str__(self) -> str:
        """The line alone, also where a worker of a DataLoader has put its traceback before it."""
        return printable(super().__str__().rpartition(f"{__name__}.{type(self).__name__}: ")[2].strip())


def printable(text: str) -> str:
    r"""A text in one line without what a terminal would obey, which names of files may hold.

    Examples:
        >>> printable("\x1b[31mred.png")
        '\\x1b[31mred.png'
    """
    return COMMANDING.sub(lambda found: ascii(found[0])[1:-1], text)


def _in_print(record: logging.LogRecord) -> bool:
    """Make a line of the log printable."""
    record.msg, record.args = printable(record.getMessage()), ()
    return True


logging.getLogger("jepa_t").addFilter(_in_print)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def check_integer(name: str, value: object, least: int = 1) -> int:
    """The value, if it is a whole number of at least ``least``.

    Raises:
        UserError: It isn't; the message calls it ``name``.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise UserError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    if value >= LARGEST:
        raise UserError(f"{name} is {value!r}; whole numbers are below 2^63")
    return int(value)


def check_index(name: str, value: object, count: int) -> int:
    """The value, if it is the number of one of ``count`` things, from 0; or, below 0, as Python counts from the end.

    Raises:
        UserError: It isn't; the message calls it ``name``.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or not -count <= value < count:
        choices = f"it must be a whole number from 0 to {count - 1}" if count else "there is none"
        raise UserError(f"{name} is {value!r}; {choices}")
    return int(value)


def check_depth(name: str, value: object, least: int = 1) -> int:
    """The value, if it is a whole number of at least ``least`` and at most 1,000: more blocks would fill any memory.

    Raises:
        UserError: It isn't; the message calls it ``name``.
    """
    depth = check_integer(name, value, least)
    if depth > DEEPEST:
        raise UserError(f"{name} is {value!r}; it must be at most {DEEPEST}")
    return depth


def check_number(name: str, value: object, remedy: str) -> float:
    """The value, if it is a finite number of at least 0.

    Raises:
        UserError: It isn't; the message calls it ``name`` and ends with ``remedy``.
    """
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= value < LARGEST:
        raise UserError(f"{name} is {value!r}; {remedy}")
    return value


def check_share(name: str, value: object) -> float:
    """The value, if it is a number in [0, 1].

    Raises:
        UserError: It isn't; the message calls it ``name``.
    """
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= value <= 1:
        raise UserError(f"{name} is {value!r}; it must lie between 0 and 1")
    return float(value)


def check_function(name: str, value: object, argument: str) -> None:
    """See that a value can be called.

    Raises:
        UserError: It can't; the message calls it ``name``, and says of what it should be a function.
    """
    if not callable(value):
        raise UserError(f"{name} is {value!r}; give a function of one {argument}")


def loss_weight(name: str, value: object) -> float:
    """The value, if it serves as the weight of a loss: a number of at least 0.

    Raises:
        UserError: It doesn't; the message calls it ``name``.
    """
    return check_number(name, value, "it must be a number of at least 0")


def optional(module: str, user: str, extra: str) -> ModuleType:
    """Import a package that only some users need.

    Args:
        module: Its name, as it is imported.
        user: What needs it, for the message.
        extra: Of ours, that brings it.

    Raises:
        UserError: It isn't installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.replace("_", "-")
        raise UserError(f"{user} needs {package}; pip install 'jepa_t[{extra}]'") from error


def unknown(what: str, given: object, choices: Iterable[str]) -> UserError:
    """The error for a name that is not among the choices; offers the nearest match.

    Args:
        what: What is being named, such as ``"fusion site"``.
        given: The value found.
        choices: The values that would be accepted.

    Examples:
        >>> str(unknown("fusion", "Ad", ["Add", "FiLM"]))
        "unknown fusion 'Ad': did you mean 'Add'? choose from Add, FiLM"
    """
    names = sorted(choices)
    if len(names) > LISTED:
        names = get_close_matches(str(given), names, n=5, cutoff=0.0)
    near = get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    choose = f"choose from {', '.join(names)}" if names else "there is none"
    return UserError(f"unknown {what} {given!r}: {hint}{choose}")
