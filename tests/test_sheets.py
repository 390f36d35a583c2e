"""Tensors as images, and several on one sheet."""

import numpy as np
import torch

from jepa_t.sheets import contact_sheet, enlarge, to_bytes, to_image


def test_images_and_sheets():
    red = to_image(torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, 2, 5))
    assert red.getpixel((4, 1)) == (255, 0, 0)
    assert enlarge(red, 9).size == (25, 10)
    sheet = contact_sheet([enlarge(red)] * 5, ["a very long caption that wraps over lines"] * 5)
    assert sheet.width > 4 * 320
    assert (np.asarray(sheet) == (255, 0, 0)).all(-1).sum() == 5 * 128 * 320


def test_bytes_are_the_nearest_and_stay_in_range():
    values = torch.arange(256.0)
    for shift in (-0.4, 0.0, 0.4):
        assert torch.equal(to_bytes((values + shift) / 127.5 - 1), values.to(torch.uint8))
    assert to_bytes(torch.tensor([-1.5, 1.5])).tolist() == [0, 255]
    assert torch.equal(to_bytes(values.to(torch.uint8)), values.to(torch.uint8))
