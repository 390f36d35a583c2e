"""Small images as files, sound and broken, and a miniature ImageNet of them."""

import io

import numpy as np
from PIL import Image


def random_image(width=20, height=12, seed=0):
    """A smooth image of random colours, RGB."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, kind="PNG", **options):
    """The bytes of its file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def write_classes(root, counts=(3, 4, 2), size=(20, 12)):
    """``root/train/<class>/*.JPEG``; the number of images of each class."""
    for label, count in enumerate(counts):
        folder = root / "train" / f"n{label:08d}"
        folder.mkdir(parents=True)
        for number in range(count):
            data = encoded(random_image(*size, seed=100 * label + number), "JPEG", quality=95)
            (folder / f"{number}.JPEG").write_bytes(data)
    return root


def damage(path):
    """Cut a file in the middle."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
