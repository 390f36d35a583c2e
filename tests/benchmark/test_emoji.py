"""What is judged by retrieval takes part: a folder of one's own, and emoji with the tokenizer that comes along."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jepa_t.benchmark import Preset, Request, plan, run, write_report
from jepa_t.benchmark.configs import configure, with_seed
from jepa_t.benchmark.records import keep
from jepa_t.benchmark.runs import execute
from jepa_t.benchmark.tasks import TASKS
from jepa_t.errors import UserError
from jepa_t.evaluation.retrieval import RetrievalMetric

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = """
model = dict(
    width=16,
    text_tokenizer=dict(width=16, depth=1, heads=2),
    encoder=dict(depth=1, heads=2),
    predictor=dict(depth=1, heads=2),
    objectives=dict(flow=dict(head_width=24, head_depth=1, draws=1)),
    sampler=dict(steps=2, draw=dict(solver_steps=1)),
)
train_dataloader = dict(batch_size=8)
"""


@pytest.fixture
def own(tmp_path):
    """A config on a folder of coloured images."""
    random = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(40):
        pixels = random.integers(0, 256, (2, 2, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        (tmp_path / "images" / f"{number}.txt").write_text(f"pattern number {number}")
    path = tmp_path / "own.py"
    path.write_text(
        f'_base_ = ["{CONFIGS}/jepat_own.py"]\nsource = "{tmp_path}/images"\nsize = 16\nheld_out = 0.3\n{SMALL}'
        'model["image_tokenizer"] = dict(_delete_=True, type="PatchTokenizer", size=(16, 16), patch=8, channels=12)\n'
        "train_cfg = dict(max_iters=16)\n"
    )
    return path


def test_a_run_on_a_folder_of_one_s_own_is_tuned_by_the_nearest_of_seen_ones(own, tmp_path):
    cfg = configure(own, prompts=4)
    record = execute(cfg, tmp_path / "run")
    assert set(record["outcomes"]) == {"seen/r1", "held_out/r1"} == set(next(iter(record["curve"].values())))
    assert len(record["outcomes"]["held_out/r1"]) == 4
    assert set(record["validation"]) == {"1.0", "1.5", "2.0", "3.0"}
    assert {"held_out/error", "real/r1"} <= set(record["metrics"])


def test_another_seed_holds_out_the_same_images(own):
    cfg = configure(own)
    assert with_seed(cfg, 3).train_dataloader == cfg.train_dataloader


def test_the_guidance_scale_needs_the_metric_s_own_first_share(own, tmp_path, monkeypatch):
    monkeypatch.setattr(RetrievalMetric, "headlines", ("nearest",))
    with pytest.raises(UserError, match=r"RetrievalMetric.columns has no 'seen/nearest', by which the guidance scale"):
        execute(configure(own, prompts=4, steps=2), tmp_path / "run")


@pytest.mark.slow
def test_the_emoji_task_runs_from_a_plan_to_a_report(tmp_path):
    planned = plan("fusion", Preset(1, {"emoji": 2}, 160), Request(tasks=["emoji"], arms=["jepa_t", "early"]))
    records, failed = run("fusion", planned, tmp_path, 1)
    assert (failed, [record.arm for record in records]) == ([], ["jepa_t", "early"])
    assert set(TASKS["emoji"].figures) <= set(records[0].metrics)
    assert {"unseen_tone/r1", "unseen_gender/gender"} <= set(records[0].curve["1"])
    keep(tmp_path, "fusion", records, "a command", "2025-01-01")
    report = write_report(tmp_path).read_text()
    assert "The judge's share right (`r1`) for real images" in report
    assert "fusion_emoji_dots.png" in report
    assert run("fusion", planned, tmp_path, 1) == (records, [])
