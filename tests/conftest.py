"""One thread, fixed seeds, and reproducible property tests for every test."""

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("ci")
os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported, which reads it once
torch.set_num_threads(1)
sys.path.insert(0, str(Path(__file__).parent / "storm"))  # for the storms
sys.path.insert(0, str(Path(__file__).parent / "engine"))  # for engine_fakes
sys.path.insert(0, str(Path(__file__).parent / "data"))  # for image_files
sys.path.insert(0, str(Path(__file__).parent / "sampling"))  # for watched
sys.path.insert(0, str(Path(__file__).parent))  # for tiny and ldm_reference


@pytest.fixture(autouse=True)
def _fixed_seeds():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
