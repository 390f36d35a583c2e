"""Every plug point on one page.

TOKENIZERS to FEATURES are ours alone: MMEngine has no word for them, and two registries of one scope can't
share a parent. The rest are children of MMEngine's roots, so its Runner finds what is registered here.
"""

import inspect
import logging
from collections.abc import Callable
from importlib.metadata import EntryPoints, entry_points
from typing import Any

from mmengine import registry as mmengine
from mmengine.registry import Registry

from .errors import UserError, first_line, unknown


def build(cfg: dict, registry: Registry, **offered: Any) -> Any:
    """Build ``cfg["type"]`` (a registered name, a dotted path or a class) with the other keys as arguments.

    Args:
        cfg: The component's config.
        registry: Where its name is looked up.
        **offered: Arguments the surroundings know, such as ``width``; passed to components that name them,
            unless ``cfg`` sets them itself.

    Raises:
        UserError: The type is unknown or missing, or an argument is unknown, missing or refused.
    """
    where = registry.name
    if not isinstance(cfg, dict) or "type" not in cfg:
        raise UserError(f"{where}: a component is a dict with a 'type', got {cfg!r}")
    arguments = dict(cfg)
    return construct(resolve(arguments.pop("type"), registry), arguments, **offered)


def construct(component: Callable, arguments: dict, **offered: Any) -> Any:
    """Call a component with ``arguments`` and with those of ``offered`` that it names.

    Raises:
        UserError: An argument is unknown, missing or refused.
    """
    parameters = inspect.signature(component).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in arguments:
        if name not in parameters and not open_ended:
            raise unknown(f"option of {component.__name__}", name, parameters)
    arguments = {k: v for k, v in offered.items() if k in parameters} | arguments
    for name, parameter in parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        )
        if needed and name not in arguments:
            raise UserError(f"{component.__name__} needs the option {name!r}")
    try:
        return component(**arguments)
    except UserError:
        raise
    # Such as a width of -4, a depth of "x".
    except (TypeError, ValueError, RuntimeError, AttributeError, ZeroDivisionError) as error:
        raise UserError(f"{component.__name__}: {first_line(error)}") from error


def resolve(kind: str | type | Callable, registry: Registry) -> Callable:
    """The class behind a registered name, a dotted path, or the class itself.

    Raises:
        UserError: Nothing of that name exists; the message offers the nearest.
    """
    if not isinstance(kind, str):
        return kind
    registry.import_from_location()
    try:
        found = registry.get(kind)
    except ImportError as error:
        raise UserError(f"{registry.name} {kind!r}: {error}") from error
    if found is None:
        raise unknown(registry.name, kind, registry.module_dict)
    return found


def _own(name: str, folder: str) -> Registry:
    return Registry(name, scope="jepa_t", locations=[f"jepa_t.{folder}"])


def _child(parent: Registry, *folders: str) -> Registry:
    return Registry(parent.name, parent=parent, scope="jepa_t", locations=[f"jepa_t.{f}" for f in folders])


# PatchTokenizer, QuantizedAutoencoder, VQTokenizer, KLTokenizer; TransformerText, HFText, OpenCLIPText, PooledText,
# ClassEmbedding
TOKENIZERS = _own("tokenizer", "tokenizers")
BACKBONES = _own("backbone", "backbones")  # ContextEncoder, Predictor
FUSIONS = _own("fusion", "fusion")  # Add, Concat, CrossAttention, FiLM, InContext
OBJECTIVES = _own("objective", "objectives")  # FlowMatching, GaussianDiffusion, TokenCrossEntropy, FeaturePrediction
SAMPLERS = _own("sampler", "sampling")  # MaskedSampler
FEATURES = _own("features", "evaluation.features")  # InceptionFeatures, DINOv2Features, CLIPFeatures

MODELS = _child(mmengine.MODELS, "model", "tokenizers")  # JEPAT, TokenizerTraining
# ImageNet, CaptionedImages, CachedLatents, InkedDigits, ShapeScenes; ClassPrompts, DigitPrompts, ShapePrompts
DATASETS = _child(mmengine.DATASETS, "data", "worlds")
DATA_SAMPLERS = _child(mmengine.DATA_SAMPLERS, "engine")  # SeededSampler
FUNCTIONS = _child(mmengine.FUNCTIONS, "data")  # keep_batch
HOOKS = _child(mmengine.HOOKS, "engine")  # EMAHook
LOOPS = _child(mmengine.LOOPS, "engine", "evaluation.generation")  # TrainLoop, GenerationLoop
OPTIM_WRAPPERS = _child(mmengine.OPTIM_WRAPPERS, "engine")  # GuardedOptimWrapper
OPTIM_WRAPPER_CONSTRUCTORS = _child(mmengine.OPTIM_WRAPPER_CONSTRUCTORS, "engine")  # TaggedGroups
PARAM_SCHEDULERS = _child(mmengine.PARAM_SCHEDULERS, "engine")  # WarmupStableDecayLR
# DigitsMetric, ShapesMetric, ReconstructionMetric, DistributionMetric, CLIPScoreMetric
METRICS = _child(
    mmengine.METRICS, "evaluation.clip_score", "evaluation.distribution", "evaluation.reconstruction", "worlds"
)


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
