"""Convert a public checkpoint into ours, with an account of every tensor."""

import logging
from argparse import ArgumentParser, Namespace

from ..conversion import Row, convert_autoencoder, convert_network
from ..conversion.network import NAMES, SCALE
from ..errors import UserError
from .shared import path


def add_arguments(parser: ArgumentParser) -> None:
    """Add what ``convert`` takes."""
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, what in (("djepa", "D-JEPA"), ("jepat", "the public JEPA-T code's")):
        network = kinds.add_parser(kind, help=f"{what} network")
        network.add_argument("source", type=path, metavar="IN", help="their file")
        network.add_argument("out", type=path, metavar="OUT", help="the .pth file to write")
        network.add_argument("--image-tokenizer", metavar="SOURCE", help="KL-16: a folder of diffusers, or its file")
        if kind == "djepa":
            what = "names of the classes, one a line"
            network.add_argument("--names", type=path, default=NAMES, metavar="FILE", help=what)
        else:
            network.add_argument(
                "--text-encoder",
                nargs="+",
                metavar="MODEL",
                help="its open_clip model, and that one's weights",
            )
        network.add_argument("--backbone", action="store_true", help="encoder and predictor alone, to train with")
        which = network.add_mutually_exclusive_group()
        which.add_argument("--ema", dest="weights", action="store_const", const="ema", help="averaged weights alone")
        which.add_argument("--raw", dest="weights", action="store_const", const="raw", help="raw weights alone")
    vae = kinds.add_parser("mar-vae", help="MAR's KL-16 autoencoder, to a folder of diffusers")
    vae.add_argument("source", type=path, metavar="IN", help="the LDM-style file")
    vae.add_argument("out", type=path, metavar="OUT", help="the folder to write")
    vae.add_argument("--scale", type=float, default=SCALE, help="what latents are multiplied by")


def run(args: Namespace) -> None:
    """Convert the file, and print what became of its tensors."""
    options = dict(vars(args))
    kind = options.pop("kind")
    del options["words"]
    logging.basicConfig(format="%(message)s")
    if kind == "mar-vae":
        rows = convert_autoencoder(**options)
    else:
        encoder = options.pop("text_encoder", None)
        if encoder and len(encoder) > 2:
            raise UserError(f"--text-encoder has {len(encoder)} values; give a model, and perhaps its weights")
        if encoder:
            options["text_encoder"] = dict(zip(("model", "pretrained"), encoder, strict=False))
        rows = convert_network(kind, **options)
    show(rows)
    print(f"written to {options['out']}")
    if options.get("backbone"):
        print("train with model.encoder.norm_at='sequence', as jepat_imagenet_from_djepa does")


def show(rows: list[Row]) -> None:
    """Print the account."""
    lines = [("theirs", "", "ours", "", ""), *rows]
    left, middle = (max(len(line[column]) for line in lines) for column in (0, 2))
    for theirs, used, ours, made, note in lines:
        print(f"{theirs:{left}} {used or '':>5}   {ours:{middle}} {made or '':>5}   {note}".rstrip())
