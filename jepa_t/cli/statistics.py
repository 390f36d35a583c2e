"""Statistics of real images, for FID: mu, sigma, mu_s and sigma_s."""

import os
from argparse import ArgumentParser, Namespace

from rich.console import Console
from rich.progress import Progress

from ..engine.options import apply_option
from ..errors import UserError, check_integer
from ..evaluation.distribution import save_statistics
from ..evaluation.features import extract
from ..evaluation.images import Packed, open_images, read
from ..registry import FEATURES, build
from .shared import path


def add_arguments(parser: ArgumentParser) -> None:
    """Add what ``statistics`` takes."""
    parser.add_argument("images", help="a folder, or an .npz with arr_0 as ADM's")
    parser.add_argument("out", type=path, help="an .npz")
    parser.add_argument("--size", type=int, help="cut the middle square of this many pixels, as ADM does")
    parser.add_argument("--keep", action="store_true", help="the features too, for precision, recall and KID")
    add_reading_arguments(parser)


def add_reading_arguments(parser: ArgumentParser) -> None:
    """Add how images are read, and the features of them."""
    parser.add_argument(
        "--features",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="the network, such as type=InceptionFeatures weights=inception.pth, or type=DINOv2Features",
    )
    parser.add_argument("--batch-size", type=int, default=64)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--workers", type=int, default=min(4, cores), help="processes that decode; %(default)s here")


def check_reading(args: Namespace) -> None:
    """See that the numbers of :func:`add_reading_arguments` are in range.

    Raises:
        UserError: One isn't.
    """
    check_integer("--batch-size", args.batch_size)
    check_integer("--workers", args.workers, 0)


def feature_config(args: Namespace) -> dict:
    """The network that ``--features`` names, as a config."""
    config = {"type": "InceptionFeatures"}
    for option in sorted(args.features, key=lambda option: not option.startswith("type=")):
        apply_option(config, option, "--features")
    return config


def run(args: Namespace) -> None:
    """Read the images, extract their features, and write the statistics."""
    check_reading(args)
    images = open_images(args.images, args.size)
    if args.size is not None and isinstance(images, Packed):
        raise UserError(f"--size {args.size}: the images of '{args.images}' have their size already; leave it out")
    extractor = build(feature_config(args), FEATURES)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        batches = bar.track(read(images, args.batch_size, args.workers), -(-len(images) // args.batch_size))
        count = save_statistics(args.out, extractor, (extract(extractor, batch) for _, batch in batches), args.keep)
    print(f"statistics of {count} images in {args.out}")
