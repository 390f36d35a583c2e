"""MMEngine glue: how a model is trained, saved, measured and run. Nothing of the method is here."""

from .checkpoint import InterruptHook, SafeCheckpointHook
from .compat import apply
from .config import load_config, set_threads
from .display import PreviewHook, ProgressHook
from .ema import EMAHook
from .hooks import FitTokenizersHook, HoldTokensHook, MeanLossHook, RehearsalHook, SpeedHook
from .loops import TrainLoop
from .optim import GuardedOptimWrapper, TaggedGroups
from .runner import JEPATRunner
from .sampler import SeededSampler
from .schedule import WarmupStableDecayLR

__all__ = [
    "EMAHook",
    "FitTokenizersHook",
    "GuardedOptimWrapper",
    "HoldTokensHook",
    "InterruptHook",
    "JEPATRunner",
    "MeanLossHook",
    "PreviewHook",
    "ProgressHook",
    "RehearsalHook",
    "SafeCheckpointHook",
    "SeededSampler",
    "SpeedHook",
    "TaggedGroups",
    "TrainLoop",
    "WarmupStableDecayLR",
    "apply",
    "load_config",
    "set_threads",
]
