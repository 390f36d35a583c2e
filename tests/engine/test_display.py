"""The grid of images, and a bar that stays away where nobody looks."""

import pytest
import torch
from engine_fakes import TinyModel, train
from hypothesis import given
from hypothesis import strategies as st

from jepa_t.engine import PreviewHook
from jepa_t.engine.display import image_grid
from jepa_t.errors import UserError


@given(count=st.integers(1, 10))
def test_every_image_has_its_place_in_the_grid(count):
    images = [torch.full((3, 2, 5), -1 + 2 * i / 10) for i in range(count)]
    grid = image_grid(images)
    columns = grid.shape[1] // 5
    for i in range(count):
        row, column = divmod(i, columns)
        tile = grid[row * 2 : row * 2 + 2, column * 5 : column * 5 + 5]
        assert abs(tile.astype(float) - i / 10 * 255).max() <= 1
    assert grid.dtype == "uint8"


def test_a_image_every_interval_changes_nothing_of_the_training(tmp_path):
    visualizer = {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend"}]}
    preview = [{"type": "PreviewHook", "captions": ["a", "b", "c"], "interval": 2}, {"type": "ProgressHook"}]
    plain = train(tmp_path / "a", 4)
    shown = train(tmp_path / "b", 4, visualizer=visualizer, custom_hooks=preview)
    assert torch.equal(plain.model.network[0].weight, shown.model.network[0].weight)
    images = sorted(p.name for p in tmp_path.glob("b/*/vis_data/vis_image/*.png"))
    assert images == ["preview_2.png", "preview_4.png"]


def test_a_preview_that_fails_is_said_and_the_training_goes_on(tmp_path, monkeypatch, said):
    def fails(self, inputs, data_samples, mode="loss", forward=TinyModel.forward):
        if mode == "predict":
            assert (tmp_path / "iter_3.pth").exists()  # the checkpoint comes first
            raise RuntimeError("no image today\nand more")
        return forward(self, inputs, data_samples, mode)

    monkeypatch.setattr(TinyModel, "forward", fails)
    runner = train(tmp_path, 4, custom_hooks=[{"type": "PreviewHook", "captions": ["a"], "interval": 3}])
    assert runner.iter == 4
    assert runner.model.training
    assert "the preview after step 3 is left out: no image today" in said


@pytest.mark.parametrize(
    "options",
    [{"interval": 0}, {"interval": 2.5}, {"captions": []}, {"captions": "a text"}, {"captions": ["a", 3]}],
)
def test_a_preview_of_nothing_is_refused(options):
    with pytest.raises(UserError, match=f"PreviewHook.{next(iter(options))} is "):
        PreviewHook(**{"captions": ["a"], "interval": 1} | options)
