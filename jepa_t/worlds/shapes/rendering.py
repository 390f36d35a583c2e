"""How ShapeScenes are rendered: anti-aliased shapes by their signed distance, to the same bits on every machine."""

import numpy as np

from .scenes import BACKGROUNDS, COLOURS, REACH, Scenes, take


def coverage(shapes: np.ndarray, radii: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """How much of each pixel of a window an object covers: ``clip(0.5 - signed distance, 0, 1)``.

    Args:
        shapes: ``[M]``; an unknown one (-1) covers nothing.
        radii: ``[M]``.
        offsets: From the centre to the middles of the window's columns and rows ``[M, w, 2]``.

    Returns:
        ``[M, w, w]`` in [0, 1]; rows, then columns.
    """
    covered = np.zeros((*offsets.shape[:2], offsets.shape[1]))
    for code, distance in enumerate((_circle, _triangle, _square, _cross)):  # in the order of SHAPES
        some = shapes == code
        x, y = offsets[some][:, None, :, 0], offsets[some][:, :, None, 1]
        signed = distance(x, y, radii[some][:, None, None])
        covered[some] = np.minimum(np.maximum(0.5 - signed, 0.0), 1.0)
    return covered


def _circle(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    return np.sqrt(x * x + y * y) - r


def _triangle(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    return np.maximum(y, 0.8660254037844386 * abs(x) - 0.5 * y) - 0.7776 * r


def _square(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    return np.maximum(abs(x), abs(y)) - 0.8862 * r


def _cross(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    thin, long = 0.3964 * r, 1.1892 * r
    upright = np.maximum(abs(x) - thin, abs(y) - long)
    return np.minimum(upright, np.maximum(abs(x) - long, abs(y) - thin))


def window(centres: np.ndarray, half: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``w = 2 half + 1`` columns and rows around points ``[..., 2]``.

    Returns:
        Pixel indices ``[..., w, 2]``, and the offsets ``[..., w, 2]`` from the points to the pixels' middles.
    """
    pixels = np.floor(centres).astype(np.int64)[..., None, :] + np.arange(-half, half + 1)[:, None]
    return pixels, pixels + 0.5 - centres[..., None, :]


def render(scenes: Scenes, size: int) -> np.ndarray:
    """Images ``[N, 3, size, size]``, uint8."""
    images = np.empty((len(scenes.background), 3, size, size), np.uint8)
    for start in range(0, len(images), 512):
        rows = np.arange(start, min(start + 512, len(images)))
        images[rows] = _paint(take(scenes, rows), size)
    return images


def _paint(scenes: Scenes, size: int) -> np.ndarray:
    inks, papers = (np.array(list(names.values()), np.uint8) for names in (COLOURS, BACKGROUNDS))
    half = int(np.ceil(REACH * scenes.radii.max(initial=1.0) + 0.5))
    side = size + 2 * half  # windows at the border stay within
    canvas = np.empty((len(scenes.background), 3, side, side), np.uint8)
    canvas[:] = papers[scenes.background][:, :, None, None]
    for slot in range(scenes.colours.shape[1]):
        some = np.flatnonzero(scenes.shapes[:, slot] >= 0)
        pixels, offsets = window(scenes.centres[some, slot], half)
        covered = coverage(scenes.shapes[some, slot], scenes.radii[some, slot], offsets)[:, None]
        columns, rows = pixels[:, None, None, :, 0] + half, pixels[:, None, :, None, 1] + half
        here = (some[:, None, None, None], np.arange(3)[:, None, None], rows, columns)
        below, ink = canvas[here], inks[scenes.colours[some, slot]].astype(float)[:, :, None, None]
        canvas[here] = np.floor(below + covered * (ink - below) + 0.5)
    return canvas[:, :, half : half + size, half : half + size]
