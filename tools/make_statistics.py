"""Statistics of real images: python tools/make_statistics.py data/imagenet/train imagenet256.npz --size 256"""

import argparse
import sys
from pathlib import Path

from mmengine.config import DictAction
from rich.console import Console
from rich.progress import Progress

from jepa_t.engine.cli import friendly
from jepa_t.evaluation.distribution import save_statistics
from jepa_t.evaluation.features import extract
from jepa_t.evaluation.images import open_images, read
from jepa_t.registry import FEATURES, build


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this tool and tools/evaluate_images.py share."""
    parser.add_argument(
        "--features",
        nargs="+",
        action=DictAction,
        default={},
        metavar="KEY=VALUE",
        help="the network, such as type=InceptionFeatures weights=inception.pth, or type=DINOv2Features",
    )
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=4, help="processes that decode")


@friendly
def main(arguments: list[str] | None = None) -> None:
    """Read, extract, write."""
    parser = argparse.ArgumentParser(description="Write mu, sigma, mu_s and sigma_s of images.")
    parser.add_argument("images", help="a folder, or an .npz with arr_0 as ADM's")
    parser.add_argument("out", type=Path, help="an .npz")
    parser.add_argument("--size", type=int, help="cut the middle square of this many pixels, as ADM does")
    parser.add_argument("--keep", action="store_true", help="the features too, for precision, recall and KID")
    add_arguments(parser)
    args = parser.parse_args(arguments)
    images = open_images(args.images, args.size)
    extractor = build({"type": "InceptionFeatures", **args.features}, FEATURES)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        batches = bar.track(read(images, args.batch_size, args.workers), -(-len(images) // args.batch_size))
        count = save_statistics(args.out, extractor, (extract(extractor, batch) for _, batch in batches), args.keep)
    Console().print(f"statistics of {count} images in {args.out}")


if __name__ == "__main__":
    sys.exit(main())
