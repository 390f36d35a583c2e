"""A user's own images with captions: a folder, a manifest, or webdataset's tar shards."""

import glob
import logging
from pathlib import Path

from ..errors import UserError
from ..registry import DATASETS
from .broken import REPORT
from .captioned_files import MANIFESTS, Folder, Manifest, Shards, images_in
from .image_dataset import ImageDataset
from .own_captions import OwnCaptions


@DATASETS.register_module()
class CaptionedImages(ImageDataset):
    """Images with captions of their own.

    Sample i is a function of the files, ``seed`` and i alone; with ``flip``, sample i + N is image i mirrored.

    Args:
        source: One of

            - a folder, at any depth, of images and texts, ``x.jpg`` and ``x.txt``;
            - a manifest ``*.jsonl``, in each line ``{"image": "x.jpg", "caption": "..."}``, where the path is taken
              from the manifest's folder and the caption may be a list, of which one is drawn;
            - webdataset's shards: a tar file, a folder of them, or a pattern such as ``shards/*.tar``, with ``x.jpg``
              and ``x.txt`` in one of them.
        size: Height and width in pixels, of ADM's centre crop.
        flip: Show each image mirrored as well; not for captions that say left or right.
        seed: Of all that is drawn.
        max_broken: Share of the images read that may be broken, in [0, 1]; an empty caption breaks one too.
        report: Folder where broken images are named.

    Raises:
        UserError: There are no images, one has no caption, a line or a shard can't be read, or a folder has both
            shards and images.
    """

    def __init__(
        self,
        source: str,
        size: int = 256,
        flip: bool = False,
        seed: int = 0,
        max_broken: float = 0.001,
        report: str = REPORT,
    ) -> None:
        if flip:
            logging.getLogger("jepa_t").warning("CaptionedImages flip=True: captions that say left or right turn false")
        found = _find(source)
        captions = OwnCaptions(found.captions, found.sizes, seed)
        super().__init__(found.names, found.image, captions, size, flip, seed, max_broken, report)


def _find(source: str) -> Folder | Manifest | Shards:
    path = Path(source).expanduser()
    if path.is_dir():
        shards = sorted(path.glob("*.tar"))
        image = next(images_in(path), None) if shards else None
        if image is not None:
            raise UserError(
                f"CaptionedImages source {source!r} holds shards, such as {shards[0].name}, and images, such as "
                f"{image}; give them folders of their own, or '{path / '*.tar'}' for the shards alone"
            )
        return Shards(shards) if shards else Folder(path)
    if path.suffix == ".tar":
        shards = [Path(name) for name in sorted(glob.glob(str(path)))]
        if not shards:
            raise UserError(f"CaptionedImages source {source!r} names no tar file")
        return Shards(shards)
    if not path.is_file():
        raise UserError(f"CaptionedImages source {source!r} is absent; give a folder, a .jsonl file or .tar files")
    if path.suffix not in MANIFESTS:
        raise UserError(f"CaptionedImages source {source!r}: give a folder, a .jsonl file or .tar files (uncompressed)")
    return Manifest(path)
