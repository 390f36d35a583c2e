"""``KEY=VALUE`` on the command line: what a value is, and where in a config it goes."""

import ast
import functools
import operator
import warnings
from typing import Any

from ..annotations import SERVE, in_words, kind_of, kinds_of
from ..errors import UserError, unknown
from .components import component_at, hints, options

OPENED = {"[": list, "(": tuple, "{": dict}


def apply_option(tree: dict, option: str, flag: str = "--cfg-options") -> None:
    """Change a config.

    Args:
        tree: The config, changed in place.
        option: Such as ``model.width=64``.
        flag: What it was given to, for messages.

    Raises:
        UserError: There is no such key, with the nearest one; or the value isn't of a kind that it takes.
    """
    key, equals, text = option.partition("=")
    if not equals:
        raise UserError(f"{flag} {option!r} has no '='; write key.sub=value")
    *parents, last = key.split(".")
    node: Any = tree
    for depth, part in enumerate(parents):
        node = _child(node, part, ".".join(parents[:depth]), flag)
    place, hint = ".".join(parents), None
    if isinstance(node, dict):
        user = component_at(node, place)
        if last not in (known := {*node, *options(user, place)}):
            raise unknown(f"option {key!r} of {flag}: key", last, known)
        old, hint = node.get(last), hints(user, place).get(last)
    elif isinstance(node, list):
        old, last = _child(node, last, place, flag), int(last)
    else:
        raise UserError(f"{flag} {key}: {place} is {node!r}, which has no options of its own")
    kinds = _kinds(hint, old)
    try:
        value = read_value(text, kinds)
    except ValueError as error:
        raise UserError(f"{flag} {option}: {error}") from error
    if kinds and type(value) not in kinds:
        example = "" if old is None else f", such as {old!r}"
        raise UserError(f"{flag} {option}: {last} takes {in_words(functools.reduce(operator.or_, kinds))}{example}")
    node[last] = value


def read_value(text: str, kinds: set[type]) -> Any:
    """What the text of an option stands for.

    A quoted text is that text. Else it is a Python literal, in which a bare word between brackets is a text, as in
    ``[red,blue]``, and ``dict(type=Add)`` is a dict, as configs write it. Else, or if the option takes texts and
    nothing of that literal's kind, it is a text as it stands.

    Args:
        text: What follows the ``=``.
        kinds: What the option takes; empty where that isn't known.

    Raises:
        ValueError: It begins as a literal that the option takes, and isn't one.
    """
    opened = dict if text.startswith("dict(") else OPENED.get(text[:1])
    try:
        with warnings.catch_warnings(action="ignore"):  # of a backslash in a text
            tree = ast.parse(text, mode="eval").body
        value = ast.literal_eval(_Words().visit(tree) if opened else tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if opened and (opened in kinds or str not in kinds):
            why = (
                "it has other parts than texts, numbers, lists and dicts"
                if type(error) is ValueError
                else error.args[0]
            )
            raise ValueError(f"this is no Python literal: {why}") from error
        return text
    return text if str in kinds and type(value) not in kinds else value


class _Words(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.Constant:
        return ast.Constant(node.id)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if not isinstance(node.func, ast.Name) or node.func.id != "dict" or node.args:
            return node
        keys: list[ast.expr | None] = [one.arg and ast.Constant(one.arg) for one in node.keywords]
        return ast.Dict(keys, [self.visit(one.value) for one in node.keywords])


def _kinds(hint: Any, old: Any) -> set[type]:
    """The kinds of values that an option takes, by its annotation and its present value; empty if neither says."""
    kinds = kinds_of(hint)
    if old is None:
        return kinds
    kind = kind_of(old)
    return kinds | ({int, float} if kind in (int, float) and not kinds else SERVE.get(kind, {kind}))


def _child(node: Any, part: str, place: str, flag: str) -> Any:
    if isinstance(node, (list, tuple)):
        if part.isdigit() and int(part) < len(node):
            return node[int(part)]
        raise UserError(f"{flag}: {place} has entries 0 to {len(node) - 1}, not {part!r}")
    if isinstance(node, dict) and part in node:
        return node[part]
    raise unknown(f"{flag} key in {place or 'the config'}", part, node if isinstance(node, dict) else [])
