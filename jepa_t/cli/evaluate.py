"""FID and its kin of images, however made: their distance to real ones."""

from argparse import ArgumentParser, Namespace

from rich.console import Console
from rich.progress import Progress

from ..evaluation.distribution import DistributionMetric
from ..evaluation.images import open_images, read
from .shared import path, show_figures, write_json
from .statistics import add_reading_arguments, check_reading, feature_config


def add_arguments(parser: ArgumentParser) -> None:
    """Add what ``evaluate`` takes."""
    parser.add_argument("images", help="a folder, or an .npz with arr_0 as ADM's")
    parser.add_argument("reference", help="a folder, an .npz of ADM's, or one that jepa-t statistics wrote")
    parser.add_argument("--allow-few", action="store_true", help="also with no more images than features")
    parser.add_argument("--out", type=path, help="write the figures to a .json file")
    add_reading_arguments(parser)


def run(args: Namespace) -> None:
    """Read both sides, extract their features, and compare them."""
    check_reading(args)
    images = open_images(args.images)
    metric = DistributionMetric(feature_config(args), args.reference, args.allow_few, args.batch_size)
    metric.prepare(None, len(images))
    with Progress(console=Console(stderr=True), transient=True) as bar:
        batches = read(images, args.batch_size, args.workers)
        for indices, batch in bar.track(batches, -(-len(images) // args.batch_size)):
            rows = zip(indices, batch, strict=True)
            metric.process(None, [{"index": index, "image": image} for index, image in rows])
        figures = metric.evaluate(len(images))
    show_figures(figures)
    if args.out:
        write_json(args.out, figures | {"count": len(images)} | metric.facts)
