"""From a config's name or file and command-line options to a checked config."""

import builtins
import copy
import os
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import PurePath
from types import FunctionType, NoneType
from typing import Any

import torch
from mmengine.config import Config
from mmengine.config.config import BASE_KEY

from ..annotations import check_argument, check_size
from ..errors import UserError, first_line, unknown
from ..files import find_config
from ..registry import import_named
from . import compat
from .components import check_needs, component, component_at, consumed, default, hints, options
from .options import apply_option

CORES = torch.get_num_threads()  # that PyTorch would use, before anything is set


def load_config(
    name: str, cfg_options: list[str] | None = None, work_dir: str | None = None, changes: dict | None = None
) -> Config:
    """Read a config, change it by options, and check every key in it.

    Args:
        name: Of a config that comes with this library, or a Python file.
        cfg_options: ``key.sub=value`` entries, as given to ``--cfg-options``.
        work_dir: Where the run writes; by default the config's own, else ``work_dirs/<config name>``.
        changes: Merged into the config as a derived config's keys are.

    Raises:
        UserError: The file can't be read, or a key, option or value doesn't fit; names the nearest match.
    """
    compat.apply()
    check_argument("work_dir", work_dir, str | None, "load_config")
    path = str(find_config(name))
    cfg = _read(path)
    cfg.merge_from_dict(copy.deepcopy(changes or {}))  # merging takes keys out
    for option in cfg_options or []:
        if option.startswith("_"):
            raise UserError(f"--cfg-options {option}: names with '_' are the file's own, used up when it is read")
        apply_option(cfg._cfg_dict, option)
    if given := cfg.get("custom_imports"):  # which an option may have changed
        cfg.custom_imports = {"imports": _import(given, "custom_imports")}
    cfg = _fill_in(cfg)
    _check(cfg._cfg_dict, "", path)
    folder = work_dir or cfg.get("work_dir") or os.path.join("work_dirs", PurePath(path).stem)
    cfg.work_dir = os.path.expanduser(folder)
    return cfg


def _fill_in(cfg: Config) -> Config:
    """The config with the value of a top-level key in the place of each text ``$key``; such keys are used up by it."""
    plain, used = cfg.to_dict(), set()

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: filled(value) for key, value in node.items()}
        if isinstance(node, (list, tuple)):
            return type(node)(map(filled, node))
        if isinstance(node, str) and node.startswith("$") and node[1:] in plain:
            used.add(node[1:])
            return plain[node[1:]]
        return node

    whole = filled(plain)
    kept = {key: value for key, value in whole.items() if key not in used}
    return Config(kept, cfg_text=cfg.text, filename=cfg.filename) if used else cfg


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
        share = CORES // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        if "OMP_NUM_THREADS" in os.environ:
            threads = torch.get_num_threads()
        else:
            threads = share if share > 1 and _seconds(share) < 0.8 * _seconds(1) else 1
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
    try:
        cfg = Config.fromfile(path, lazy_import=False, import_custom_modules=False)
    except SyntaxError as error:
        traceback.clear_frames(error.__traceback__)
        file = error.filename if error.filename and os.path.isfile(error.filename) else path
        found = error.__context__ if isinstance(error.__context__, SyntaxError) else error  # MMEngine's has no line
        line = "" if found.lineno is None else f", line {found.lineno}"
        raise UserError(f"config {file!r}{line}: {found.msg}") from error
    except Exception as error:  # a config is a program: whatever it raises is for its author to mend
        where = _place_in_configs(error) or f"config {path!r}"
        traceback.clear_frames(error.__traceback__)  # closes the copy of the file that MMEngine left open
        raise UserError(f"{where}: {type(error).__name__}: {first_line(error)}") from error
    _import(cfg.get("custom_imports"), f"config {path!r}: custom_imports")
    kept = {key: value for key, value in cfg.to_dict().items() if not isinstance(value, type)}  # the rest it imported
    plain = {key: _plain(value, f"config {path!r}: {key}") for key, value in kept.items()}
    return Config(plain, cfg_text=cfg.text, filename=path)


def _import(given: Any, where: str) -> list[str]:
    """Import the modules that ``custom_imports`` names, and give their names.

    Raises:
        UserError: They aren't there, or it says something else.
    """
    if not given:
        return []
    options = dict(given) if isinstance(given, Mapping) else {}
    names = options.pop("imports", None)
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) and name for name in names):
        raise UserError(f"{where} is {given!r}; write dict(imports=['my_module'])")
    if options not in ({}, {"allow_failed_imports": False}):
        raise UserError(f"{where} has {', '.join(options)}; it takes imports alone, none of which may fail")
    for name in names:
        import_named(name, where)
    return list(names)


def _place_in_configs(error: BaseException) -> str:
    """Where the config, or the one that it is based on, raised an error; nothing where it didn't."""
    frames = traceback.walk_tb(error.__traceback__)
    lines = [(frame.f_code.co_filename, line) for frame, line in frames if BASE_KEY in frame.f_globals]
    return f"config {lines[-1][0]!r}, line {lines[-1][1]}" if lines else ""


def _plain(value: Any, place: str) -> Any:
    """A config's value as it can be written to a file again: classes as dotted paths, paths as texts.

    Raises:
        UserError: It can't.
    """
    if isinstance(value, dict):
        return {key: _plain(part, f"{place}.{key}") for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(part, f"{place}.{index}") for index, part in enumerate(value))
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (type, FunctionType)):
        return _dotted_path(value, place)
    if not isinstance(value, (str, bytes, int, float, complex, set, NoneType)):
        raise UserError(f"{place} is of kind {type(value).__name__}, which no file can hold; write what makes it")
    return value


def _dotted_path(value: type | FunctionType, place: str) -> str:
    if vars(sys.modules.get(value.__module__, builtins)).get(value.__name__) is not value:
        raise UserError(f"{place}: {value.__name__} is made in the config; move it to a module and import it")
    return f"{value.__module__}.{value.__name__}"


def _check(node: Any, place: str, path: str) -> None:
    """Look through a config for options that their component doesn't have, and values that they don't take."""
    if isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            _check(child, f"{place}.{index}", path)
    if not isinstance(node, dict):
        check_size(place, node)
        return
    user = component_at(node, place)
    known, annotations = options(user, place), hints(user, place)
    for key, child in node.items():
        if not place and key.startswith("_"):  # a variable of the file
            continue
        where = f"{place}.{key}".lstrip(".")
        if known and key not in known:
            of = f"option of {user.__name__} at {place}:" if place else f"top-level key of {path}"
            raise unknown(of, key, known - consumed(user, place))
        if user and key in annotations and not (child is None and default(user, key) is None):
            check_argument(where, child, annotations[key], user.__name__)
        if key == "constructor":  # MMEngine's name for a second type
            component(child, where)
        _check(child, where, path)
    check_needs(user, node, place)
