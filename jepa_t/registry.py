"""Every plug point on one page.

TOKENIZERS to FEATURES are this library's own: MMEngine has no word for them, and two registries of one scope can't
share a parent. The rest are children of MMEngine's roots, so its Runner finds what is registered here.
"""

import importlib
import inspect
import logging
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from mmengine import registry as mmengine
from mmengine.registry import Registry
from torch import nn

from .annotations import check_argument, check_size, hints
from .errors import UserError, first_line, unknown

# Where code lies that isn't a plug-in's: this library, those that it stands on, and Python's own.
OURS = f"{Path(__file__).parent}{os.sep}"
INSTALLED, STANDARD = (f"{sysconfig.get_path(name)}{os.sep}" for name in ("purelib", "stdlib"))
BELOW = ("torch", "mmengine", "timm", "einops", "numpy", "PIL", "open_clip", "transformers", "diffusers", "safetensors")


def build(cfg: Any, registry: Registry, kind: type | None = None, **offered: Any) -> Any:
    """Build ``cfg["type"]`` (a registered name, a dotted path or a class) with the other keys as arguments.

    Args:
        cfg: The component's config; or the component itself, which is passed through.
        registry: Where its name is looked up.
        kind: The contract that the component must keep, of :mod:`jepa_t.contracts`.
        **offered: Arguments the surroundings know, such as ``width``; passed to components that name them,
            unless ``cfg`` sets them itself.

    Raises:
        UserError: The type is unknown or missing, an argument is unknown, missing or refused, or the component isn't
            of the kind.

    Examples:
        >>> build({"type": "Add", "width": 4}, FUSIONS, text_width=8).proj
        Linear(in_features=8, out_features=4, bias=True)
        >>> build({"type": "Ad"}, FUSIONS)
        Traceback (most recent call last):
        jepa_t.errors.UserError: unknown fusion 'Ad': did you mean 'Add'? choose from Add, ...
    """
    if isinstance(cfg, Mapping) and "type" in cfg:
        arguments = dict(cfg)
        part = construct(resolve(arguments.pop("type"), registry), arguments, **offered)
    elif cfg is None or isinstance(cfg, (Mapping, str, int, float, list, tuple, type)):
        raise UserError(f"{registry.name}: a component is a dict with a 'type', or an object, got {cfg!r}")
    else:
        part = cfg
    if kind is not None:
        check_kind(part, kind, registry.name)
    return part


def check_kind(part: Any, kind: type, where: str) -> None:
    """See that a component keeps the contract of its kind.

    Raises:
        UserError: It is of another kind, or lacks an attribute that the contract names.
    """
    name, contract = type(part).__name__, f"{kind.__module__}.{kind.__name__}"
    if not isinstance(part, kind):
        methods = sorted(getattr(kind, "__abstractmethods__", ()))
        raise UserError(
            f"{where}: {name} is no {kind.__name__}; derive it from {contract} and give {', '.join(methods)}"
        )
    for base in type(part).__mro__:
        for attribute in vars(base).get("__annotations__", {}) if base.__module__ == kind.__module__ else ():
            if not hasattr(part, attribute):
                contract = f"{base.__module__}.{base.__name__}"
                raise UserError(f"{where}: {name} sets no {attribute!r}, which {contract} asks for")


def construct(component: Callable, arguments: Mapping[str, Any], **offered: Any) -> Any:
    """Call a component with ``arguments`` and with those of ``offered`` that it names.

    Raises:
        UserError: An argument is unknown, missing or refused, or the component has an error inside, told with its
            file and line.
    """
    given, arguments = arguments, check_options(component, arguments, offered)
    abstract = getattr(component, "__abstractmethods__", None)
    if abstract:
        raise UserError(f"{component.__name__} lacks {', '.join(sorted(abstract))}, which its contract asks for")
    try:
        part = component(**arguments)
    except UserError:  # its own check says more
        raise
    # Such as a width of -4, a depth of "x"; or a bug in a plug-in, whose place is told.
    except (TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError, MemoryError) as error:
        check_kinds(component, given)
        raise UserError(f"{component.__name__}: {first_line(error)}{place_of(error)}") from error
    check_kinds(component, given)
    if isinstance(part, nn.Module) and "_parameters" not in vars(part):
        raise UserError(f"{component.__name__}: its __init__ begins without super().__init__()")
    return part


def check_options(component: Callable, arguments: Mapping[str, Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments to call a component with: those given, and of those offered the ones that it names.

    Raises:
        UserError: An argument is unknown or missing, a number that no tensor holds, or another than what is offered.
    """
    parameters = inspect.signature(component).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, value in arguments.items():
        if name not in parameters and not open_ended:
            raise unknown(f"option of {component.__name__}", name, parameters)
        if isinstance(value, int):
            check_size(f"{component.__name__}: {name}", value)
        if name in parameters and name in offered and value is not None and not _equal(value, offered[name]):
            raise UserError(
                f"{component.__name__}: {name} is {value!r}, and {offered[name]!r} where it stands; leave it out"
            )
    arguments = {k: v for k, v in offered.items() if k in parameters} | dict(arguments)
    for name, parameter in parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        )
        if needed and name not in arguments:
            raise UserError(f"{component.__name__} needs the option {name!r}")
    return arguments


def _equal(given: Any, offered: Any) -> bool:
    """Whether plain data is the same, a list as good as a tuple; anything else is the same only if it is it."""
    if isinstance(given, (list, tuple)) and isinstance(offered, (list, tuple)):
        return len(given) == len(offered) and all(map(_equal, given, offered))
    plain = (bool, int, float, str)
    return given == offered if isinstance(given, plain) and isinstance(offered, plain) else given is offered


def check_kinds(component: Callable, arguments: Mapping[str, Any]) -> None:
    """See that arguments of a component are of the kinds that its annotations name.

    Raises:
        UserError: One isn't.
    """
    parameters, annotations = inspect.signature(component).parameters, hints(component)
    for name, value in arguments.items():
        if not (value is None and name in parameters and parameters[name].default is None):
            check_argument(f"{component.__name__}: {name}", value, annotations.get(name), "it")


def place_of(error: BaseException) -> str:
    """Where in a plug-in an error was raised, as ``" (FILE, line N)"``; nothing for errors of this library's parts."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_foreign(frame.filename)]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


@contextmanager
def as_user_errors(place: str) -> Iterator[None]:
    """Make one line of what MMEngine and PyTorch raise where a config's value doesn't suit them."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, TypeError, LookupError, AssertionError, AttributeError, ArithmeticError) as error:
        raise UserError(f"{place}: {type(error).__name__}: {first_line(error)}{place_of(error)}") from error


def _is_foreign(file: str) -> bool:
    """Whether a file is a plug-in's."""
    if file.startswith(INSTALLED):
        return not file.removeprefix(INSTALLED).startswith(tuple(f"{name}{os.sep}" for name in (*BELOW, "jepa_t")))
    return not file.startswith((OURS, STANDARD, "<"))  # such as <frozen importlib> and a dataclass's <string>


def function(cfg: Any, registry: Registry) -> Callable:
    """A registered function by its name, or by ``dict(type=NAME, ...)`` with options bound; a function itself stays.

    Raises:
        UserError: The name or an option is unknown.

    Examples:
        >>> function("cosine", REVEAL_SCHEDULES)(0.0)
        1.0
        >>> function({"type": "linear", "most": 0.5}, GUIDANCE_SCHEDULES)(0.9)
        0.5
    """
    options = dict(cfg) if isinstance(cfg, Mapping) else {"type": cfg}
    found = resolve(options.pop("type", None), registry)
    for name in options:
        if name not in (parameters := inspect.signature(found).parameters):
            raise unknown(f"option of {found.__name__}", name, parameters)
    check_kinds(found, options)
    return partial(found, **options) if options else found


def resolve(kind: Any, registry: Registry) -> Callable:
    """The class or function behind a registered name or a dotted path, or itself.

    Raises:
        UserError: Nothing of that name exists, for which the message offers the nearest; its module has an error; or
            it is of Python's own library, such as ``os.system``.
    """
    if callable(kind):
        return kind
    if not isinstance(kind, str):
        raise UserError(f"{registry.name}: a type is a registered name, a dotted path or a class, got {kind!r}")
    registry.import_from_location()
    node: Registry | None = registry
    while node is not None:
        if kind in node.module_dict:
            return node.module_dict[kind]
        node = node.parent
    path, _, name = kind.rpartition(".")
    if not path:
        raise unknown(registry.name, kind, registry.module_dict)
    if _is_standard(path):
        raise UserError(f"{registry.name} {kind!r}: Python's own library has no component")
    module = import_named(
        path, f"{registry.name} {kind!r}", partial(unknown, registry.name, kind, registry.module_dict)
    )
    try:
        found = getattr(module, name)
    except AttributeError as error:
        raise unknown(f"name in the module {path}", name, [n for n in dir(module) if n[0] != "_"]) from error
    if not callable(found) or _is_standard(getattr(found, "__module__", "") or ""):
        raise UserError(f"{registry.name} {kind!r} is {found!r:.60}, which is no component")
    return found


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def import_named(module: str, user: str, otherwise: Callable[[], UserError] | None = None) -> ModuleType:
    """Import a module that somebody named.

    Args:
        module: Its dotted path.
        user: What names it, for messages.
        otherwise: Makes an error that offers other names, where the module isn't there.

    Raises:
        UserError: It isn't there, or it has an error inside, told with its file and line.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):  # something that it imports is absent
            raise UserError(f"{user}: {first_line(error)}{place_of(error)}") from error
        known = f", or {str(otherwise()).partition(': ')[2]}" if otherwise else ""
        raise UserError(f"{user}: no module {error.name!r}; put its folder on PYTHONPATH{known}") from error
    except SyntaxError as error:
        raise UserError(f"{user}: {error.msg} ({error.filename}, line {error.lineno})") from error
    except Exception as error:  # a stranger's module can fail anyhow; where is told
        raise UserError(f"{user}: {type(error).__name__}: {first_line(error)}{place_of(error)}") from error


def _own(name: str, folder: str) -> Registry:
    return Registry(name, scope="jepa_t", locations=[f"jepa_t.{folder}"])


def _child(parent: Registry, *folders: str) -> Registry:
    return Registry(parent.name, parent=parent, scope="jepa_t", locations=[f"jepa_t.{f}" for f in folders])


# PatchTokenizer, QuantizedAutoencoder, KLAutoencoder, VQTokenizer, KLTokenizer; TransformerText, HFText,
# AdaptedText, OpenCLIPText, PooledText, ClassEmbedding
TOKENIZERS = _own("tokenizer", "tokenizers")
BACKBONES = _own("backbone", "backbones")  # ContextEncoder, Predictor
FUSIONS = _own("fusion", "fusion")  # Add, Concat, CrossAttention, FiLM, InContext, TextTokens
# FlowMatching, MeanFlow, GaussianDiffusion, TokenCrossEntropy; FeaturePrediction
OBJECTIVES = _own("objective", "objectives")
SAMPLERS = _own("sampler", "sampling")  # MaskedSampler
FEATURES = _own(
    "features", "evaluation.features"
)  # InceptionFeatures, DINOv2Features, CLIPFeatures, GradientHistograms
# Functions, by name.
REVEAL_ORDERS = _own("reveal order", "sampling")  # random, halton, checkerboard, confidence
REVEAL_SCHEDULES = _own("reveal schedule", "sampling")  # cosine, arccos, linear, paced
GUIDANCE_SCHEDULES = _own("guidance schedule", "sampling")  # constant, linear
SOLVERS = _own("solver", "sampling")  # euler, midpoint, heun, ab2
MASK_RATIOS = _own("mask ratio", "masking")  # truncated_normal
ATTENTIONS = _own("attention backend", "attention")  # math, sdpa, xformers

MODELS = _child(mmengine.MODELS, "model", "tokenizers")  # JEPAT, TokenizerTraining
# ImageNet, CaptionedImages, CachedLatents, InkedDigits, ShapeScenes, EmojiImages; ClassPrompts, DigitPrompts,
# ShapePrompts, EmojiPrompts
DATASETS = _child(mmengine.DATASETS, "data", "worlds")
DATA_SAMPLERS = _child(mmengine.DATA_SAMPLERS, "engine")  # SeededSampler
FUNCTIONS = _child(mmengine.FUNCTIONS, "data")  # keep_batch
HOOKS = _child(mmengine.HOOKS, "engine")  # EMAHook
LOOPS = _child(mmengine.LOOPS, "engine", "evaluation.generation")  # TrainLoop, GenerationLoop
OPTIM_WRAPPERS = _child(mmengine.OPTIM_WRAPPERS, "engine")  # GuardedOptimWrapper
OPTIM_WRAPPER_CONSTRUCTORS = _child(mmengine.OPTIM_WRAPPER_CONSTRUCTORS, "engine")  # TaggedGroups
PARAM_SCHEDULERS = _child(mmengine.PARAM_SCHEDULERS, "engine")  # WarmupStableDecayLR
# DigitsMetric, ShapesMetric, EmojiMetric, ReconstructionMetric, RetrievalMetric, DistributionMetric, CLIPScoreMetric
_MEASURES = ("clip_score", "distribution", "reconstruction", "retrieval")
METRICS = _child(mmengine.METRICS, *(f"evaluation.{name}" for name in _MEASURES), "worlds")


def plugins() -> EntryPoints:
    """What installed packages announce as plug-ins of this library."""
    return entry_points(group="jepa_t.plugins")


def load_plugins() -> list[str]:
    """Import every installed package that announces itself under the entry-point group ``jepa_t.plugins``.

    Returns:
        The names loaded. A plug-in that fails to import is named in a warning and skipped.
    """
    loaded = []
    for point in plugins():
        try:
            point.load()
            loaded.append(point.name)
        except Exception as error:  # a stranger's package must not stop ours; it is named
            logging.getLogger("jepa_t").warning("plug-in %s (%s) failed: %s", point.name, point.value, error)
    return loaded
