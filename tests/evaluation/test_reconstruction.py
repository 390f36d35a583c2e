"""Figures of reconstructions: known errors, known codes."""

import math

import pytest
import torch
from tiny import random_images

from jepa_t.evaluation.reconstruction import ReconstructionMetric


def test_figures_of_known_images():
    images, metric = random_images(4), ReconstructionMetric()
    for start, ids in ((0, [[0, 1], [0, 1]]), (2, [[0, 1], [0, 1]])):
        inputs = images[start : start + 2]
        samples = [
            {"image": image + 0.2, "ids": torch.tensor(row), "codebook_size": 4}
            for image, row in zip(inputs, ids, strict=True)
        ]
        metric.process({"inputs": inputs}, samples)
    figures = metric.compute_metrics(metric.results)
    assert figures["mse"] == pytest.approx(0.04, rel=1e-4)
    assert figures["psnr"] == pytest.approx(10 * math.log10(4 / 0.04), rel=1e-4)
    assert figures["codes_used"] == 0.5
    assert figures["perplexity"] == pytest.approx(2.0)
    assert metric.compute_metrics([]) == {}
