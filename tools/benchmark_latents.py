"""How fast latents are read, packed and from an archive per image: python tools/benchmark_latents.py"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from jepa_t.contracts import LatentImageTokenizer
from jepa_t.data import CachedLatents, Captions
from jepa_t.data.broken import Tally
from jepa_t.data.imagenet import LabelCaptions
from jepa_t.data.latent_cache import SHARD, write_cache

IMAGES = {"type": "ImageNet", "root": "", "names": ["image"], "templates": ["a {}"]}


class RandomMoments(LatentImageTokenizer):
    """A tokenizer that says random things in the shape of KL-16's moments at 256 pixels."""

    grid, stride, channels = (16, 16), 16, 16

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("nothing", torch.zeros(()))

    @property
    def identity(self) -> dict:
        """What moments depend on: nothing."""
        return {"sha256": "", "shape": [32, 16, 16]}

    def moments(self, images: Tensor) -> Tensor:
        """Moments ``[B, 32, 16, 16]`` of images ``[B, 3, H, W]``."""
        return torch.randn(len(images), *self.identity["shape"])

    def encode(self, images: Tensor) -> Tensor:
        """Not needed here."""
        raise NotImplementedError

    decode = from_moments = encode


def main() -> None:
    """Write the same latents in both ways, read them in turns, print the speeds and their ratios."""
    parser = argparse.ArgumentParser(description="Read random latents of KL-16's shape, packed against archives.")
    parser.add_argument("--images", type=int, default=2 * SHARD)
    parser.add_argument("--shard", type=int, default=SHARD, help="images in a packed file")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=5, help="readings of each, in turns")
    parser.add_argument("--folder", help="where the files are put, and removed again; default the system's own")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=args.folder) as made:
        packed, archives = write(Path(made), args.images, args.shard)
        order = np.random.default_rng(0).permutation(2 * args.images)
        batches = [order[start : start + args.batch_size].tolist() for start in range(0, len(order), args.batch_size)]
        if not torch.equal(packed(batches[0]), archives(batches[0])):
            raise AssertionError("the two formats say different things")
        speeds = [[len(order) / seconds(read, batches) for read in (packed, archives)] for _ in range(args.pairs)]
    for one, other in speeds:
        print(f"packed {one:8.0f} images/s   archives {other:8.0f} images/s   ratio {one / other:5.1f}")
    ratios = [one / other for one, other in speeds]
    print(f"packed / archives: median {statistics.median(ratios):.1f}, {min(ratios):.1f} to {max(ratios):.1f}")


def write(folder: Path, count: int, shard: int) -> tuple[Callable[[list[int]], Tensor], Callable[[list[int]], Tensor]]:
    """The same latents packed and as archives; how each is read, a batch of samples at once."""
    images = SimpleNamespace(
        names=[f"{number}.JPEG" for number in range(count)],
        describe=LabelCaptions(np.zeros(count), Captions(IMAGES["names"], IMAGES["templates"])),
        pixels=lambda _: np.zeros((1, 1, 3), np.uint8),
        tally=Tally(folder, 0.0),
    )
    for _ in write_cache(folder / "packed", images, RandomMoments(), IMAGES, shard):
        pass
    data = CachedLatents(str(folder / "packed"), IMAGES)
    (folder / "archives").mkdir()
    for number in range(count):
        moments = [data.__getitems__([index])["inputs"]["moments"][0].numpy() for index in (number, count + number)]
        np.savez(folder / "archives" / f"{number}.npz", moments=moments[0], moments_flip=moments[1])

    def packed(batch: list[int]) -> Tensor:
        return data.__getitems__(batch)["inputs"]["moments"]  # with captions, as training reads it

    def archives(batch: list[int]) -> Tensor:
        rows = []
        for index in batch:
            with np.load(folder / "archives" / f"{index % count}.npz") as archive:
                rows.append(archive["moments_flip" if index >= count else "moments"])
        return torch.from_numpy(np.stack(rows))

    return packed, archives


def seconds(read: Callable[[list[int]], Tensor], batches: list[list[int]]) -> float:
    """How long reading all batches takes."""
    start = time.perf_counter()
    for batch in batches:
        read(batch)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
