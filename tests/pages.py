"""Code blocks of the documentation, and how they are run.

Python blocks of a page run in order and share their names. One whose first line is ``# NAME.py`` becomes that file: it
is imported, or, if it has a ``_base_``, loaded as a config. One that can't run alone says ```` ```python not-run ````.
"""

import ast
import contextlib
import importlib
import inspect
import itertools
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmengine.registry
from mmengine.registry import Registry

from jepa_t import cli, registry
from jepa_t.engine import load_config
from jepa_t.files import find_config

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```(\w*) *([^\n]*)\n(.*?)^```", re.M | re.S)
ENTRANCE = re.compile(r"(?:\bjepa-t|-m jepa_t) (.*)")


@dataclass(frozen=True)
class Block:
    """A code block: its page and line, its language, the mark behind that, and the code."""

    page: Path
    line: int
    language: str
    mark: str
    code: str

    @property
    def file(self) -> str:
        """The file that a Python block is to be, as its first line says; empty for none."""
        found = re.match(r"# ([\w/]+\.py)\n", self.code)
        return found[1] if found else ""


def blocks(page: Path) -> list[Block]:
    """All code blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [Block(page, text[: found.start()].count("\n") + 1, *found.groups()) for found in FENCE.finditer(text)]


def named(page: Path, file: str) -> str:
    """The code of the block that is to be this file."""
    (code,) = (block.code for block in blocks(page) if block.file == file)
    return code


def registries() -> list[Registry]:
    """All registries, this library's first."""
    found = [one for module in (registry, mmengine.registry) for one in vars(module).values()]
    return [one for one in found if isinstance(one, Registry)]


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Take out of the registries, and of the imported modules, what was put in."""
    for one in registries():
        one.import_from_location()
    before, modules = [(one, dict(one.module_dict)) for one in registries()], set(sys.modules)
    try:
        yield
    finally:
        for one, kept in before:
            for name in set(one.module_dict) - set(kept):
                del one.module_dict[name]
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(Path.cwd())):
                del sys.modules[name]


def run(block: Block, names: dict[str, Any]) -> None:
    """Run a Python block in the present folder, which must be on Python's path."""
    source = "\n" * block.line + block.code  # so that an error tells the page's line
    if not block.file:
        exec(compile(source, str(block.page), "exec"), names)
        return
    file = Path(block.file)
    file.parent.mkdir(exist_ok=True)
    for config in (ROOT / "configs").iterdir() if file.parent.name == "configs" else ():
        with contextlib.suppress(FileExistsError):
            (file.parent / config.name).symlink_to(config)
    file.write_text(source)
    if "_base_ =" in block.code:
        load_config(str(file))
    else:
        names |= vars(importlib.import_module(file.stem))


def wrong_options(code: str) -> list[str]:
    """What of ``dict(type="NAME", option=...)`` in some code names no component, or an option that it hasn't."""
    wrong = []
    for node in ast.walk(ast.parse(code)):
        given = {key.arg: key.value for key in node.keywords} if isinstance(node, ast.Call) else {}
        kind = given.pop("type", None)
        if isinstance(kind, ast.Constant) and getattr(node.func, "id", "") == "dict":
            found = [one.module_dict[kind.value] for one in registries() if kind.value in one.module_dict]
            if not any({*given} - {"_delete_", None} <= _parameters(one) for one in found):
                wrong.append(f"type={kind.value!r} with {sorted(filter(None, given))}")
    return wrong


def _parameters(component: Any) -> set[str]:
    """The options of a component, and of what it inherits from where it passes options on."""
    kinds = component.__mro__ if isinstance(component, type) else [component]
    return {name for kind in kinds for name in inspect.signature(kind).parameters}


def commands(block: Block) -> list[list[str]]:
    """The words behind each ``jepa-t`` of a shell block; shell variables become 1."""
    found = []
    for line in block.code.replace("\\\n", " ").splitlines():
        entrance = ENTRANCE.search(line)
        if entrance:
            lexer = shlex.shlex(re.sub(r"\$\w+", "1", entrance[1]), posix=True, punctuation_chars=";|&()")
            lexer.whitespace_split, lexer.commenters = True, "#"
            found.append(list(itertools.takewhile(lambda word: word[0] not in ";|&)", lexer)))
    return found


def parse(words: list[str]) -> None:
    """See that a command is one: that it exists, has these options, and that its config, if it ships, has these keys.

    Raises:
        UserError: It isn't.
    """
    name, *rest = words
    if "--help" in rest or name.startswith("-") or name.isupper():
        return
    command = importlib.import_module(f"jepa_t.cli.{name.replace('-', '_')}")
    parser = cli.Parser(name)
    command.add_arguments(parser)
    args = vars(parser.parse_args(rest))
    config = args.get("config")
    if config and not config.isupper() and not config.endswith(".py"):
        find_config(config)
        if args.get("cfg_options"):
            load_config(config, args["cfg_options"])
