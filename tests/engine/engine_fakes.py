"""A tiny model and data set with the attributes that the engine relies on, and a runner around them."""

import copy
import os
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import nn

from jepa_t.contracts import Fitted
from jepa_t.data import TrainingSet
from jepa_t.engine import JEPATRunner, apply
from jepa_t.evaluation.metric import Metric
from jepa_t.files import load_checkpoint
from jepa_t.registry import DATASETS, FUNCTIONS, METRICS, MODELS

HERE = Path(__file__).parent
ENV = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]),
    "OMP_NUM_THREADS": "1",
}


@MODELS.register_module(force=True)
class TinyModel(BaseModel):
    """Learns to scale noise; ``poison`` makes the loss of that step (from 1) not a number."""

    def __init__(self, width: int = 4, poison: int = 0, noise: float = 1.0, image_tokenizer: dict | None = None):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(3, width), nn.LayerNorm(width), nn.Linear(width, 3))
        self.network.text_tokenizer = None
        self.ema = copy.deepcopy(self.network).requires_grad_(False)
        self.image_tokenizer = TinyTokenizer()
        self.poison, self.noise = poison, noise
        self.steps = 0

    def fit(self, images, captions):
        if not self.image_tokenizer.fitted:
            self.image_tokenizer.fit(images)

    def forward(self, inputs, data_samples, mode="loss"):
        if mode == "predict":
            image = torch.tanh(self.ema(torch.ones(3)))[:, None, None].expand(3, 4, 4)
            return [{"image": image, "caption": caption} for caption in data_samples["caption"]]
        self.steps += 1
        colours = inputs.mean((2, 3))
        noisy = colours + self.noise * torch.randn_like(colours)
        error = (self.network(noisy) - colours).square().mean()
        if self.steps == self.poison:
            error = error * float("nan")
        return {"loss_flow": error, "loss_feature": 0.1 * error}


class TinyTokenizer(nn.Module, Fitted):
    """Fitted once, to the mean of the images."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("done", torch.zeros((), dtype=torch.bool))

    @property
    def fitted(self):
        return bool(self.done)

    def fit(self, images):
        self.mean.fill_(float(images.mean()))
        self.done.fill_(True)


@DATASETS.register_module(force=True)
class TinyData(TrainingSet):
    """Ten flat images; remembers which it was asked for."""

    def __init__(self, size: int = 10):
        self.images = torch.linspace(-1, 1, size)[:, None, None, None].expand(size, 3, 4, 4)
        self.captions = [f"grey {i}" for i in range(size)]
        self.read = []

    def __len__(self):
        return len(self.captions)

    def __getitems__(self, indices):
        self.read += indices
        captions = [self.captions[i] for i in indices]
        return {"inputs": self.images[indices], "data_samples": {"caption": captions}}


@FUNCTIONS.register_module(force=True)
def keep_tiny(batch):
    return batch


def tiny_config(work_dir, steps=6, **changes):
    """A complete training config over the fakes; ``changes`` replace top-level keys."""
    keys = {
        "default_scope": "jepa_t",
        "work_dir": str(work_dir),
        "model": {"type": "TinyModel"},
        "train_dataloader": {
            "batch_size": 3,
            "num_workers": 0,
            "dataset": {"type": "TinyData"},
            "sampler": {"type": "SeededSampler"},
            "collate_fn": {"type": "keep_tiny"},
        },
        "train_cfg": {"type": "TrainLoop", "max_iters": steps},
        "optim_wrapper": {
            "type": "GuardedOptimWrapper",
            "constructor": "TaggedGroups",
            "optimizer": {"type": "AdamW", "lr": 0.01},
            "clip_grad": {"max_norm": 1.0},
        },
        "param_scheduler": [{"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 4}],
        "default_hooks": {
            "runtime_info": {"type": "MeanLossHook"},
            "tokenizers": {"type": "FitTokenizersHook"},
            "ema": {"type": "EMAHook"},
            "timer": {"type": "SpeedHook"},
            "logger": {"type": "LoggerHook", "interval": 2, "log_metric_by_epoch": False},
            "checkpoint": {"type": "SafeCheckpointHook", "interval": 3},
            "interrupt": {"type": "InterruptHook"},
        },
        "log_processor": {"by_epoch": False, "window_size": 1},
        "randomness": {"seed": 0},
        "log_level": "WARNING",
    }
    return Config(keys | changes)


def train(work_dir, steps=6, **changes):
    """Train the fakes; returns the runner."""
    apply()
    runner = JEPATRunner.from_cfg(tiny_config(work_dir, steps, **changes))
    runner.train()
    return runner


def assert_same(one, other):
    """Two checkpoints hold the same weights and the same state of the optimizer and its schedules."""
    one, other = ({name: plain(value) for name, value in load_checkpoint(str(file)).items()} for file in (one, other))
    for part in ("state_dict", "optimizer", "param_schedulers"):
        assert one.get(part) == other.get(part), part


def plain(value):
    """Numbers in the place of tensors."""
    if isinstance(value, (dict, list, tuple)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: plain(item) for key, item in pairs}
    return value.tolist() if torch.is_tensor(value) else value


@DATASETS.register_module(force=True)
class TinyPrompts:
    """Five captions to draw."""

    def __len__(self):
        return 5

    def __getitems__(self, indices):
        captions = [f"grey {i}" for i in indices]
        return {"inputs": None, "data_samples": {"caption": captions, "index": indices}}


@METRICS.register_module(force=True)
class TinyMetric(Metric):
    """Counts the images."""

    def process(self, data_batch, data_samples):
        self.results += [sample["image"].shape[0] for sample in data_samples]

    def compute_metrics(self, results):
        return {"count": len(results), "channels": float(results[0])}
