"""The grid of images, and a bar that stays away where nobody looks."""

import torch
from engine_fakes import train
from hypothesis import given
from hypothesis import strategies as st

from jepa_t.engine.display import image_grid


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
