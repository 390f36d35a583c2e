"""MMEngine glue: how a model is trained, saved, measured and run. Nothing of the method is here."""

from .averaging import WeightAverageHook, update_average
from .checkpoint import InterruptHook, SafeCheckpointHook
from .compat import apply, load_checkpoint
from .config import find_checkpoint, load_config, set_threads
from .display import PreviewHook, ProgressHook
from .hooks import FitTokenizersHook, MeanLossHook, SpeedHook
from .loops import TrainLoop
from .optim import GuardedOptimWrapper, TaggedGroups
from .runner import JEPATRunner
from .sampler import SeededSampler

__all__ = [
    "FitTokenizersHook",
    "GuardedOptimWrapper",
    "InterruptHook",
    "JEPATRunner",
    "MeanLossHook",
    "PreviewHook",
    "ProgressHook",
    "SafeCheckpointHook",
    "SeededSampler",
    "SpeedHook",
    "TaggedGroups",
    "TrainLoop",
    "WeightAverageHook",
    "apply",
    "find_checkpoint",
    "load_checkpoint",
    "load_config",
    "set_threads",
    "update_average",
]
