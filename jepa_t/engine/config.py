"""From a config's name or file and command-line options to a checked config."""

import copy
import importlib
import inspect
import os
import time
import traceback
from pathlib import PurePath
from types import FunctionType, NoneType
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from ..errors import UserError, first_line, unknown
from ..files import find_config
from . import compat
from .components import CONSUMED, component, options
from .options import apply_option

# Topmost keys beside the arguments of MMEngine's Runner, with what they take; "_" begins a config's own variables.
OWN_KEYS = {
    "threads": int | str,
    "custom_imports": dict,
    "model_wrapper_cfg": dict,
    "find_unused_parameters": bool,
    "sync_bn": str,
    "compile": bool | dict,
}


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
    path = str(find_config(name))
    cfg = _read(path)
    cfg.merge_from_dict(copy.deepcopy(changes or {}))  # merging takes keys out
    for option in cfg_options or []:
        if option.startswith("_"):
            raise UserError(f"--cfg-options {option}: names with '_' are the file's own, used up when it is read")
        apply_option(cfg._cfg_dict, option, root=Runner, own=OWN_KEYS)
    allowed = set(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"} | OWN_KEYS.keys()
    for key in cfg:
        if key not in allowed and not key.startswith("_"):
            raise unknown(f"top-level key of {path}", key, allowed)
    _check(cfg._cfg_dict, "")
    cfg.work_dir = work_dir or cfg.get("work_dir") or os.path.join("work_dirs", PurePath(path).stem)
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
    try:
        cfg = Config.fromfile(path, lazy_import=False, import_custom_modules=False)
    except SyntaxError as error:
        traceback.clear_frames(error.__traceback__)
        raise UserError(f"config {path!r}, line {error.lineno}: {error.msg}") from error
    except Exception as error:  # a config is a program: whatever it raises is for its author to mend
        traceback.clear_frames(error.__traceback__)  # closes the copy of the file that MMEngine left open
        raise UserError(f"config {path!r}: {type(error).__name__}: {first_line(error)}") from error
    imports = cfg.get("custom_imports") or {}
    for module in [names] if isinstance(names := imports.get("imports", []), str) else names:
        try:
            importlib.import_module(module)
        except Exception as error:
            if not (isinstance(error, ImportError) and imports.get("allow_failed_imports")):
                raise UserError(f"config {path!r}: custom_imports {module!r}: {_told(error)}") from error
    kept = {key: value for key, value in cfg.to_dict().items() if not isinstance(value, type)}  # the rest it imported
    plain = {key: _plain(value, f"config {path!r}: {key}") for key, value in kept.items()}
    return Config(plain, cfg_text=cfg.text, filename=path)


def _told(error: Exception) -> str:
    """An error in somebody's module, with the place where it was raised."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    *_, last = traceback.extract_tb(error.__traceback__)
    where = "" if last.filename.startswith("<frozen") else f"{last.filename}, line {last.lineno}: "
    return f"{where}{type(error).__name__}: {first_line(error)}"


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
    found: Any = importlib.import_module(value.__module__)
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    if found is not value:
        raise UserError(f"{place}: {value.__name__} is made in the config; move it to a module and import it")
    return f"{value.__module__}.{value.__qualname__}"


def _check(node: Any, place: str) -> None:
    """Look through the whole config for options that their component doesn't have."""
    if isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            _check(child, f"{place}.{index}")
    if not isinstance(node, dict):
        return
    user = component(node.get("type"))
    if user is not None and (known := options(user)):
        for key in node:
            if key not in known:
                raise unknown(f"option of {user.__name__} at {place}:", key, known - CONSUMED)
    for key, child in node.items():
        _check(child, f"{place}.{key}" if place else key)
