"""What a ``type`` in a config stands for, and which options it has."""

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from mmengine import registry as mmengine
from mmengine.registry import Registry

from .. import registry as ours
from ..errors import unknown

# Keys that MMEngine takes out of a component's dict before it calls the component.
CONSUMED = {"type", "_scope_", "priority", "constructor", "paramwise_cfg", "optimizer", "convert_to_iter_based"}


def component(kind: Any) -> Callable | None:
    """The class or function that a ``type`` names; None without a type.

    Raises:
        UserError: A name that no registry knows.
    """
    if not isinstance(kind, str):
        return kind
    registries = _registries()
    for registry in registries:
        registry.import_from_location()
        found = registry.module_dict.get(kind)
        if found is not None:
            return found
    if "." in kind:
        return ours.resolve(kind, ours.MODELS)
    raise unknown("component", kind, {name for registry in registries for name in registry.module_dict})


def options(component: Callable | None) -> set[str]:
    """The names that a component takes, with those that MMEngine consumes; empty if it takes any."""
    if component is None:
        return set()
    parameters = inspect.signature(component).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return set()
    return {p.name for p in parameters} | CONSUMED


def hints(component: Callable | None) -> dict[str, Any]:
    """The annotations of its options."""
    if component is None:
        return {}
    try:
        return get_type_hints(component.__init__ if inspect.isclass(component) else component)
    except (NameError, TypeError):  # a stranger's annotation that can't be evaluated says nothing
        return {}


def _registries() -> list[Registry]:
    named = [r for module in (ours, mmengine) for r in vars(module).values() if isinstance(r, Registry)]
    return list(dict.fromkeys(named))
