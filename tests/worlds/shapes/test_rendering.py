"""Shapes are drawn where, as large and as covering as their formulas say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_t.worlds.shapes.rendering import coverage, render, window
from jepa_t.worlds.shapes.scenes import BACKGROUNDS, COLOURS, SHAPES, Scenes


@given(st.sampled_from(SHAPES), st.floats(3, 12), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_shapes_of_one_radius_have_one_area_about_their_centre(shape, radius, x, y):
    pixels, offsets = window(np.array([[x, y]]), 24)
    covered = coverage(np.array([SHAPES.index(shape)]), np.array([radius]), offsets)[0]
    assert 0 <= covered.min() <= covered.max() <= 1
    assert covered.sum() == pytest.approx(np.pi * radius**2, rel=0.02, abs=1.0)
    middle = [(covered.sum(axis) * (pixels[0, :, axis] + 0.5)).sum() / covered.sum() for axis in (0, 1)]
    assert middle == pytest.approx([x, y], abs=0.1)


def test_rendering_is_exact_where_it_can_be_worked_out():
    # Half the side is 0.8862 * 2.25 = 1.99395: of four by four pixels the outer ones lack 0.00605 in depth.
    red, square, black = [*COLOURS].index("red"), SHAPES.index("square"), [*BACKGROUNDS].index("black")
    one = [np.array(entry) for entry in ([[red]], [[square]], [[2.25]], [[[12.0, 4.0]]], [black])]
    image = render(Scenes(*one), 24)[0]
    rows, columns = np.nonzero(image[0])
    assert sorted(zip(rows, columns, strict=True)) == [(y, x) for y in range(2, 6) for x in range(10, 14)]
    ink = np.array(COLOURS["red"])[:, None]
    share = np.where(np.isin(rows, (2, 5)) | np.isin(columns, (10, 13)), 0.99395, 1.0)
    assert (image[:, rows, columns] == np.floor(ink * share + 0.5)).all()
