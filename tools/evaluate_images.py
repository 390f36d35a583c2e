"""Distances of pictures, however made, to real ones: python tools/evaluate_images.py GENERATED REFERENCE"""

import argparse
import json
import sys
from pathlib import Path

from make_statistics import add_arguments
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from jepa_t.engine.cli import friendly
from jepa_t.engine.compat import write_whole
from jepa_t.evaluation.distribution import DistributionMetric
from jepa_t.evaluation.pictures import open_pictures, read


@friendly
def main(arguments: list[str] | None = None) -> None:
    """Read, extract, compare."""
    parser = argparse.ArgumentParser(description="FID and its kin of a folder or an .npz of pictures.")
    parser.add_argument("pictures", help="a folder, or an .npz with arr_0 as ADM's")
    parser.add_argument("reference", help="a folder, an .npz of ADM's, or one of tools/make_statistics.py")
    parser.add_argument("--allow-few", action="store_true", help="also with no more pictures than features")
    parser.add_argument("--out", type=Path, help="write the figures to a .json file")
    add_arguments(parser)
    args = parser.parse_args(arguments)
    pictures = open_pictures(args.pictures)
    features = {"type": "InceptionFeatures", **args.features}
    metric = DistributionMetric(features, args.reference, args.allow_few, args.batch_size)
    metric.prepare(None, len(pictures))
    with Progress(console=Console(stderr=True), transient=True) as bar:
        batches = read(pictures, args.batch_size, args.workers)
        for indices, batch in bar.track(batches, -(-len(pictures) // args.batch_size)):
            rows = zip(indices, batch, strict=True)
            metric.process(None, [{"index": index, "image": image} for index, image in rows])
        figures = metric.evaluate(len(pictures))
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4f}")
    Console().print(table)
    if args.out:
        report = figures | {"count": len(pictures)} | metric.facts
        write_whole(args.out, lambda file: file.write(json.dumps(report, indent=2).encode()))


if __name__ == "__main__":
    sys.exit(main())
