"""What a part of a config is for, which options it has, and what they take."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from mmengine import registry as mmengine
from mmengine.hooks import LoggerHook
from mmengine.registry import Registry
from mmengine.runner import LogProcessor, Runner
from torch.utils.data import DataLoader

from .. import annotations
from .. import registry as ours
from ..errors import UserError, unknown
from ..masking import truncated_normal

# Keys that MMEngine takes out of a component's dict before it calls the component, by the places where it does, with
# what they take.
CONSUMED = {
    r"(default_hooks|custom_hooks)\.\w+": {"priority": int | str},
    r"optim_wrapper": {"constructor": str, "paramwise_cfg": dict | None, "optimizer": dict},
    r"param_scheduler(\.\d+)?": {"convert_to_iter_based": bool},
    r"(train|val|test)_dataloader": {"disable_subprocess_warning": bool},
    r"model\.mask_ratio": {"multiple": int},  # by MaskRatio
}
# Arguments that the engine gives a component itself, by the places where it does: a config can't.
HANDED = {
    r"randomness": {"self"},
    r"train_dataloader": {"generator", "batch_sampler", "pin_memory_device"},
    r"(val|test)_dataloader": {"generator", "batch_sampler", "pin_memory_device", "drop_last"},  # all are measured
    r"(train|val|test)_dataloader\.sampler": {"dataset"},
    r"(train|val|test)_dataloader\.collate_fn": {"batch"},
    r"(train|val|test)_cfg": {"runner", "dataloader", "evaluator"},
    r"model\.mask_ratio": {"uniform"},
}
# Parts without a type.
LOADERS = {f"{use}_dataloader": DataLoader for use in ("train", "val", "test")}
IMPLIED = {
    "": Runner,
    "model.mask_ratio": truncated_normal,
    "log_processor": LogProcessor,
    "randomness": Runner.set_randomness,
    **LOADERS,
}
# Of which registry a type is, by the places where it stands: it is looked up there first, since names may be shared.
# Only names of that registry are offered for one that is unknown.
KINDS = {
    r"model": ours.MODELS,
    r"(model\.)?(\w+_)?tokenizer": ours.TOKENIZERS,
    r"model\.(encoder|predictor)": ours.BACKBONES,
    r"model\.fusion\.\w+": ours.FUSIONS,
    r"model\.objectives\.\w+": ours.OBJECTIVES,
    r"(.*\.)?mask_ratio": ours.MASK_RATIOS,
    r"(.*\.)?attention": ours.ATTENTIONS,
    r"model\.sampler": ours.SAMPLERS,
    r"model\.sampler\.schedule": ours.REVEAL_SCHEDULES,
    r"model\.sampler\.order": ours.REVEAL_ORDERS,
    r"model\.sampler\.guidance_schedule": ours.GUIDANCE_SCHEDULES,
    r"model\.sampler\.draw\.solver": ours.SOLVERS,
    r"(default|custom)_hooks\.\w+": ours.HOOKS,
    r"optim_wrapper": ours.OPTIM_WRAPPERS,
    r"optim_wrapper\.constructor": ours.OPTIM_WRAPPER_CONSTRUCTORS,
    r"optim_wrapper\.optimizer": mmengine.OPTIMIZERS,
    r"param_scheduler(\.\d+)?": ours.PARAM_SCHEDULERS,
    r"(train|val|test)_dataloader\.dataset(\..+)?": ours.DATASETS,
    r"(train|val|test)_dataloader\.sampler": ours.DATA_SAMPLERS,
    r"(train|val|test)_dataloader\.collate_fn": ours.FUNCTIONS,
    r"(train|val|test)_cfg": ours.LOOPS,
    r"(train|val|test)_evaluator(\.\d+)?": ours.METRICS,
    r"(train|val|test)_evaluator(\.\d+)?\.gallery": ours.DATASETS,
    r"(.*\.)?features": ours.FEATURES,
}
# Topmost keys beside the arguments of MMEngine's Runner, and those whose annotations say less, with what they take.
OWN_KEYS = {
    "threads": int | str,
    "overwrite": bool,
    "custom_imports": dict,
    "model_wrapper_cfg": dict,
    "find_unused_parameters": bool,
    "sync_bn": Literal["torch"],
    "default_hooks": dict[str, dict | None],
    "param_scheduler": dict | list[dict] | None,
    "val_evaluator": dict | list[dict] | None,
    "test_evaluator": dict | list[dict] | None,
}
# Options that act only where another is given.
NEEDS = {
    DataLoader: (
        "num_workers",
        ("in_order", "multiprocessing_context", "persistent_workers", "prefetch_factor", "timeout", "worker_init_fn"),
    ),
    LoggerHook: ("out_dir", ("backend_args", "file_client_args", "keep_local", "out_suffix")),
}


def component_at(node: dict, place: str) -> Callable | None:
    """The class or function that a part of a config is for; None where it says and implies none.

    Args:
        node: The part.
        place: Where it stands, such as ``model.encoder``; the empty text for all.

    Raises:
        UserError: It names one that no registry knows.
    """
    return component(node["type"], place) if "type" in node else IMPLIED.get(place)


def component(kind: Any, place: str) -> Callable | None:
    """The class or function that a ``type`` names, which stands at a place such as ``model.encoder``.

    Raises:
        UserError: A name that no registry knows.
    """
    if callable(kind):
        return kind
    if not isinstance(kind, str):
        raise UserError(f"a type is a registered name, a dotted path or a class, got {kind!r}")
    fitting, registries = _at(KINDS, place), _registries()
    what, among = (fitting.name, _family(fitting)) if isinstance(fitting, Registry) else ("component", registries)
    for registry in (*among, *registries):
        registry.import_from_location()
        found = registry.module_dict.get(kind)
        if found is not None:
            return found
    if "." in kind:
        return ours.resolve(kind, ours.MODELS)
    names = {name for registry in among for name in registry.module_dict}
    raise UserError(f"{place}: {unknown(what, kind, names)}".removeprefix(": "))


def consumed(component: Callable | None, place: str) -> set[str]:
    """The keys of a part of a config that are taken out of it before its component is called."""
    return {*_at(CONSUMED, place)} | ({"type", "_scope_"} if inspect.isclass(component) else {"type"})


def options(component: Callable | None, place: str) -> set[str]:
    """The names that the component of a part of a config takes, with those consumed; empty if it takes any."""
    if component is None:
        return set()
    if component is Runner:
        return {*inspect.signature(Runner.__init__).parameters, *OWN_KEYS} - {"self", "cfg"}
    parameters = inspect.signature(component).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return set()
    return {p.name for p in parameters} - {*_at(HANDED, place)} | consumed(component, place)


def _at(table: Mapping[str, Any], place: str) -> Any:
    """What a table says of a place; nothing where it says nothing."""
    return next((said for where, said in table.items() if re.fullmatch(where, place)), {})


def default(component: Callable | None, option: str) -> Any:
    """What an option is where it isn't given; ``inspect.Parameter.empty`` where it must be, or there is none."""
    parameters = (
        inspect.signature(component.__init__ if component is Runner else component).parameters if component else {}
    )
    return parameters[option].default if option in parameters else inspect.Parameter.empty


def hints(component: Callable | None, place: str) -> Mapping[str, Any]:
    """The annotations of the options of a part of a config."""
    own = OWN_KEYS if component is Runner else _at(CONSUMED, place)
    return {**annotations.hints(component), **own}


def check_needs(component: Callable | None, node: Mapping[str, Any], place: str) -> None:
    """See that no option stands there that acts only with another, which isn't there.

    Raises:
        UserError: One does.
    """
    needed, dependent = NEEDS.get(component, ("", ()))
    for name in dependent:
        if name in node and not node.get(needed) and node[name] != default(component, name):
            raise UserError(f"{place}.{name} is {node[name]!r}, and acts only with {needed}; give that too, or neither")


def _family(registry: Registry) -> list[Registry]:
    """A registry, and those above it that its names are looked up in."""
    return [registry, *(_family(registry.parent) if registry.parent else [])]


def _registries() -> list[Registry]:
    named = [r for module in (ours, mmengine) for r in vars(module).values() if isinstance(r, Registry)]
    return list(dict.fromkeys(named))
