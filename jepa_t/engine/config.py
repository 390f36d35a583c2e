"""From a config file and command-line options to a checked config."""

import ast
import copy
import inspect
import os
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import torch
from mmengine import registry as mmengine
from mmengine.config import Config, DictAction
from mmengine.registry import Registry
from mmengine.runner import Runner

from .. import registry as ours
from ..errors import UserError, first_line, unknown
from . import compat

# Top-level names beside the arguments of MMEngine's Runner; a leading "_" marks a config's variables.
OWN_KEYS = {"threads", "custom_imports", "model_wrapper_cfg", "find_unused_parameters", "sync_bn", "compile"}
# Keys that MMEngine takes out of a component's dict before it calls the component.
CONSUMED = {
    "type",
    "_scope_",
    "priority",
    "constructor",
    "paramwise_cfg",
    "optimizer",
    "convert_to_iter_based",
}


def load_config(
    path: str, options: list[str] | None = None, work_dir: str | None = None, changes: dict | None = None
) -> Config:
    """Read a config, change it by options, and check every key in it.

    Args:
        path: A Python config file.
        options: ``key.sub=value`` entries, as given to ``--cfg-options``.
        work_dir: Where the run writes; by default the config's own, else ``work_dirs/<config name>``.
        changes: Merged into the config as a derived config's keys are.

    Raises:
        UserError: The file can't be read, or a key, option or value doesn't fit; names the nearest match.
    """
    compat.apply()
    cfg = _read(path)
    cfg.merge_from_dict(copy.deepcopy(changes or {}))  # merging takes keys out
    for option in options or []:
        _apply(cfg, option)
    allowed = set(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"} | OWN_KEYS
    for key in cfg:
        if key not in allowed and not key.startswith("_"):
            raise unknown(f"top-level key of {path}", key, allowed)
    _check(cfg._cfg_dict, "")
    cfg.work_dir = work_dir or cfg.get("work_dir") or str(Path("work_dirs") / Path(path).stem)
    return cfg


def set_threads(threads: int | str) -> int:
    """Set how many threads PyTorch uses on the CPU.

    ``"auto"`` keeps a count given by OMP_NUM_THREADS; else it times a small network with one thread and
    with this process's share of the cores, and takes the share only where that is at least a quarter faster:
    beside busy neighbours, threads wait for each other.

    Args:
        threads: A number of at least 1, or ``"auto"``.

    Returns:
        The number now in use.

    Raises:
        UserError: ``threads`` is neither.
    """
    if threads == "auto":
        share = torch.get_num_threads() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        if "OMP_NUM_THREADS" in os.environ or share < 2:
            threads = max(share, 1)
        else:
            threads = share if _seconds(share) < 0.8 * _seconds(1) else 1
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise UserError(f"threads is {threads!r}; give a whole number of at least 1, or 'auto'")
    torch.set_num_threads(threads)
    return threads


def _seconds(threads: int) -> float:
    torch.set_num_threads(threads)
    x, weight = torch.ones(1024, 256), torch.ones(256, 768, requires_grad=True)
    times = []
    for _ in range(12):
        start = time.perf_counter()
        torch.nn.functional.gelu(x @ weight).sum().backward()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def _read(path: str) -> Config:
    if not os.path.isfile(path):
        folder = Path(path).parent
        near = sorted(str(p) for p in folder.glob("*.py")) if folder.is_dir() else []
        if near:
            raise unknown("config file", path, near)
        raise UserError(f"config file {path!r} doesn't exist")
    try:
        return Config.fromfile(path)
    except SyntaxError as error:
        traceback.clear_frames(error.__traceback__)
        raise UserError(f"config {path!r}, line {error.lineno}: {error.msg}") from error
    except Exception as error:  # a config is a program: whatever it raises is for its author to mend
        traceback.clear_frames(error.__traceback__)  # closes the copy of the file that MMEngine left open
        cause: BaseException = error
        while isinstance(cause, ImportError) and cause.__context__:  # MMEngine wraps a failed import twice
            cause = cause.__context__
        raise UserError(f"config {path!r}: {type(cause).__name__}: {first_line(cause)}") from error


def _apply(cfg: Config, option: str) -> None:
    key, equals, text = option.partition("=")
    if not equals:
        raise UserError(f"--cfg-options {option!r} has no '='; write key.sub=value")
    try:
        value = _value(text)
    except (AssertionError, SyntaxError, ValueError) as error:
        raise UserError(f"--cfg-options {option!r}: {error}") from error
    *parents, last = key.split(".")
    node: Any = cfg._cfg_dict
    for depth, part in enumerate(parents):
        node = _child(node, part, ".".join(parents[:depth]))
    place = ".".join(parents)
    if isinstance(node, list):
        _child(node, last, place)
        node[int(last)] = value
        return
    if not isinstance(node, dict):
        raise UserError(f"--cfg-options {key}: {place} is {node!r}, which has no options of its own")
    component = _component(node.get("type"))
    known = set(node) | (_options(component) if component else set())
    if not place:
        known |= set(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"} | OWN_KEYS
    if last not in known:
        raise unknown(f"option {key!r} of --cfg-options: key", last, known)
    _check_kind(key, node.get(last), value, _hint(component, last))
    node[last] = value


def _value(text: str) -> Any:
    """What the text of an option stands for; MMEngine's reader takes ``[a,b]`` without quotes, but also all spaces."""
    try:
        return ast.literal_eval(text) if text[:1] in ("{", "[", "(") else DictAction._parse_iterable(text)
    except (SyntaxError, ValueError):
        if text.startswith("{"):
            raise
        return DictAction._parse_iterable(text)


def _child(node: Any, part: str, place: str) -> Any:
    if isinstance(node, (list, tuple)):
        if part.isdigit() and int(part) < len(node):
            return node[int(part)]
        raise UserError(f"--cfg-options: {place} has entries 0 to {len(node) - 1}, not {part!r}")
    if isinstance(node, dict) and part in node:
        return node[part]
    raise unknown(f"--cfg-options key in {place or 'the config'}", part, node if isinstance(node, dict) else [])


def _check_kind(key: str, old: Any, new: Any, hint: Any) -> None:
    if old is None or new is None or key == "threads":
        return
    hinted = [get_origin(kind) or kind for kind in (get_args(hint) or (hint,))]  # int | tuple[int, int]: int, tuple
    kinds = {kind for kind in hinted if isinstance(kind, type)} | {type(old)}
    kinds |= {int} if float in kinds else set()
    kinds |= {float} if int in kinds and hint is None else set()  # lr=1 in a config, 1e-4 on the command line
    kinds |= {list, tuple} if kinds & {list, tuple, Sequence} else set()
    if type(new) not in kinds and not (isinstance(new, dict) and isinstance(old, dict)):
        raise UserError(f"--cfg-options {key}={new!r} is of kind {type(new).__name__}; {old!r} is {_kind(old)}")


def _kind(value: Any) -> str:
    return {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}.get(
        type(value), f"of kind {type(value).__name__}"
    )


def _check(node: Any, place: str) -> None:
    """Look through the whole config for options that their component doesn't have."""
    if isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            _check(child, f"{place}.{index}")
    if not isinstance(node, dict):
        return
    component = _component(node.get("type"))
    if component is not None and (known := _options(component)):
        for key in node:
            if key not in known:
                raise unknown(f"option of {component.__name__} at {place}:", key, known - CONSUMED)
    for key, child in node.items():
        _check(child, f"{place}.{key}" if place else key)


def _registries() -> list[Registry]:
    named = [r for module in (ours, mmengine) for r in vars(module).values() if isinstance(r, Registry)]
    return list(dict.fromkeys(named))


def _component(kind: Any) -> Any:
    """What a ``type`` stands for: a class or function; None without a type.

    Raises:
        UserError: A name that no registry knows.
    """
    if not isinstance(kind, str):
        return kind
    for registry in _registries():
        registry.import_from_location()
        found = registry.module_dict.get(kind)
        if found is not None:
            return found
    if "." in kind:
        return ours.resolve(kind, ours.MODELS)
    raise unknown("component", kind, {name for r in _registries() for name in r.module_dict})


def _options(component: Any) -> set[str]:
    """The names a component takes, with those MMEngine consumes; empty if it takes any."""
    parameters = inspect.signature(component).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return set()
    return {p.name for p in parameters} | CONSUMED


def _hint(component: Any, name: str) -> Any:
    if component is None:
        return None
    function = component.__init__ if inspect.isclass(component) else component
    try:
        return get_type_hints(function).get(name)
    except (NameError, TypeError):  # a stranger's annotation that can't be evaluated says nothing
        return None
