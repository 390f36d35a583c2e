"""What a part of a config is for, which options it has, and what they take."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mmengine import registry as mmengine
from mmengine.registry import Registry
from mmengine.runner import LogProcessor, Runner
from torch.utils.data import DataLoader

from .. import registry as ours
from ..errors import UserError, unknown

# Keys that MMEngine takes out of a component's dict before it calls the component, by the places where it does.
CONSUMED = {
    r"(default_hooks|custom_hooks)\.\w+": {"priority"},
    r"optim_wrapper": {"constructor", "paramwise_cfg", "optimizer"},
    r"param_scheduler(\.\d+)?": {"convert_to_iter_based"},
    r"(train|val|test)_dataloader": {"num_batch_per_epoch", "disable_subprocess_warning"},
}
# Arguments that the engine gives a component itself, by the places where it does: a config can't.
HANDED = {
    r"(train|val|test)_dataloader": {"generator", "batch_sampler"},
    r"(train|val|test)_dataloader\.sampler": {"dataset"},
    r"(train|val|test)_dataloader\.collate_fn": {"batch"},
    r"(train|val|test)_cfg": {"runner", "dataloader"},
}
# Parts without a type.
LOADERS = {f"{use}_dataloader": DataLoader for use in ("train", "val", "test")}
IMPLIED = {"": Runner, "log_processor": LogProcessor, **LOADERS}
# Topmost keys beside the arguments of MMEngine's Runner, with what they take.
OWN_KEYS = {
    "threads": int | str,
    "overwrite": bool,
    "custom_imports": dict,
    "model_wrapper_cfg": dict,
    "find_unused_parameters": bool,
    "sync_bn": str,
    "compile": bool | dict,
}
# The kinds of values that a config holds, in words.
KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    tuple: "a list",
    dict: "a dict",
    NoneType: "None",
}
# What serves as what an annotation names.
SERVE = {float: {float, int}, Path: {str}, **{kind: {list, tuple} for kind in (list, tuple, Sequence)}, Mapping: {dict}}


def component_at(node: dict, place: str) -> Callable | None:
    """The class or function that a part of a config is for; None where it says and implies none.

    Args:
        node: The part.
        place: Where it stands, such as ``model.encoder``; the empty text for all.

    Raises:
        UserError: It names one that no registry knows.
    """
    return component(node["type"]) if "type" in node else IMPLIED.get(place)


def component(kind: Any) -> Callable | None:
    """The class or function that a ``type`` names.

    Raises:
        UserError: A name that no registry knows.
    """
    if callable(kind):
        return kind
    if not isinstance(kind, str):
        raise UserError(f"a type is a registered name, a dotted path or a class, got {kind!r}")
    registries = _registries()
    for registry in registries:
        registry.import_from_location()
        found = registry.module_dict.get(kind)
        if found is not None:
            return found
    if "." in kind:
        return ours.resolve(kind, ours.MODELS)
    raise unknown("component", kind, {name for registry in registries for name in registry.module_dict})


def consumed(component: Callable | None, place: str) -> set[str]:
    """The keys of a part of a config that MMEngine takes out of it."""
    return _at(CONSUMED, place) | ({"type", "_scope_"} if inspect.isclass(component) else {"type"})


def options(component: Callable | None, place: str) -> set[str]:
    """The names that the component of a part of a config takes, with those consumed; empty if it takes any."""
    if component is None:
        return set()
    if component is Runner:
        return {*inspect.signature(Runner.__init__).parameters, *OWN_KEYS} - {"self", "cfg"}
    parameters = inspect.signature(component).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return set()
    return {p.name for p in parameters} - _at(HANDED, place) | consumed(component, place)


def _at(table: Mapping[str, set[str]], place: str) -> set[str]:
    return set().union(*(names for where, names in table.items() if re.fullmatch(where, place)))


def default(component: Callable | None, option: str) -> Any:
    """What an option is where it isn't given; ``inspect.Parameter.empty`` where it must be, or there is none."""
    parameters = (
        inspect.signature(component.__init__ if component is Runner else component).parameters if component else {}
    )
    return parameters[option].default if option in parameters else inspect.Parameter.empty


@functools.cache
def hints(component: Callable | None) -> Mapping[str, Any]:
    """The annotations of its options."""
    function = component.__init__ if inspect.isclass(component) else component
    found = dict(OWN_KEYS) if component is Runner else {}
    for name, hint in getattr(function, "__annotations__", {}).items():
        with suppress(NameError, TypeError):  # one that can't be evaluated says nothing
            found |= get_type_hints(SimpleNamespace(__annotations__={name: hint}), function.__globals__)
    return found


def kinds_of(hint: Any) -> set[type]:
    """The kinds of values that an annotation admits; empty if a config can't say all that it admits."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        parts = [kinds_of(part) for part in get_args(hint)]
        return set().union(*parts) if all(parts) else set()
    if origin is Literal:
        return {type(value) for value in get_args(hint)}
    kind = origin or hint
    if kind in SERVE or kind in KINDS:
        return SERVE.get(kind, {kind})
    if isinstance(kind, type) and kind not in (object, type) and kind.__module__ != "collections.abc":
        return {dict}  # a component, which a config describes
    return set()


def kind_of(value: Any) -> type:
    """The kind of a config's value."""
    return dict if isinstance(value, dict) else type(value)


def in_words(kinds: set[type]) -> str:
    """Kinds of values, in words."""
    return " or ".join(sorted({KINDS[kind] for kind in kinds}))


def _registries() -> list[Registry]:
    named = [r for module in (ours, mmengine) for r in vars(module).values() if isinstance(r, Registry)]
    return list(dict.fromkeys(named))
