"""Distances of images, however made, to real ones: python tools/evaluate_images.py GENERATED REFERENCE"""

import argparse
import json
import sys
from pathlib import Path

from make_statistics import add_arguments
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from jepa_t.engine.cli import friendly
from jepa_t.evaluation.distribution import DistributionMetric
from jepa_t.evaluation.images import open_images, read
from jepa_t.files import write_atomically


@friendly
def main(arguments: list[str] | None = None) -> None:
    """Read, extract, compare."""
    parser = argparse.ArgumentParser(description="FID and its kin of a folder or an .npz of images.")
    parser.add_argument("images", help="a folder, or an .npz with arr_0 as ADM's")
    parser.add_argument("reference", help="a folder, an .npz of ADM's, or one of tools/make_statistics.py")
    parser.add_argument("--allow-few", action="store_true", help="also with no more images than features")
    parser.add_argument("--out", type=Path, help="write the figures to a .json file")
    add_arguments(parser)
    args = parser.parse_args(arguments)
    images = open_images(args.images)
    features = {"type": "InceptionFeatures", **args.features}
    metric = DistributionMetric(features, args.reference, args.allow_few, args.batch_size)
    metric.prepare(None, len(images))
    with Progress(console=Console(stderr=True), transient=True) as bar:
        batches = read(images, args.batch_size, args.workers)
        for indices, batch in bar.track(batches, -(-len(images) // args.batch_size)):
            rows = zip(indices, batch, strict=True)
            metric.process(None, [{"index": index, "image": image} for index, image in rows])
        figures = metric.evaluate(len(images))
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4f}")
    Console().print(table)
    if args.out:
        report = figures | {"count": len(images)} | metric.facts
        write_atomically(args.out, lambda file: file.write(json.dumps(report, indent=2).encode()))


if __name__ == "__main__":
    sys.exit(main())
