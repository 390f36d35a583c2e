"""Write a trained model as a folder to share: config, weights in half precision, and a model card; or push it."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

import torch

from .. import hub
from ..card import TEMPLATE, Card, read_metrics
from ..data.text_files import NotText, decode_text
from ..errors import UserError
from ..files import find_checkpoint
from ..pipeline import Pipeline
from ..saved import WEIGHTS


def add_arguments(parser: ArgumentParser) -> None:
    """Add what ``publish`` takes."""
    parser.add_argument("checkpoint", help="a .pth file or a work dir (its newest)")
    parser.add_argument("folder", help="where to write, such as jepa_t/weights/emoji")
    parser.add_argument("--card", help="the card as a template; $figures, $config and others are filled in")
    parser.add_argument("--metrics", help="figures of these weights, by jepa-t test; default: metrics.json beside them")
    parser.add_argument("--data", default=Card.data, help="what the model was trained on, for the card")
    parser.add_argument("--licence", default=Card.licence, help="of the weights, for the card, such as cc-by-4.0")
    parser.add_argument("--captions", nargs="+", default=(), help="drawn on the card's sheet")
    parser.add_argument("--push", metavar="USER/MODEL", help="push the folder's model to the hub as well")
    parser.add_argument("--private", action="store_true", default=None, help="a new repository is private")
    parser.add_argument("--revision", help="the branch to push to; default: the main one")


def run(args: Namespace) -> None:
    """Save, describe, share."""
    if args.push:
        hub.check_name(args.push)
    elif args.private or args.revision:
        raise UserError("--private and --revision belong to --push USER/MODEL")
    metrics = read_metrics(args.metrics) if args.metrics else metrics_beside(args.checkpoint)
    try:
        template = decode_text(Path(args.card).read_bytes()) if args.card else TEMPLATE
    except NotText as error:
        raise UserError(f"the card {args.card!r} {error}; save it as UTF-8") from error
    card = Card(args.push or "", args.data, args.licence, metrics, args.captions, template)
    Pipeline.from_pretrained(args.checkpoint, device="cpu").save_pretrained(args.folder, torch.float16, card)
    print(f"{args.folder}: {(Path(args.folder) / WEIGHTS).stat().st_size / 1e6:.1f} MB")
    if args.push:
        print(hub.push(args.folder, args.push, args.private, args.revision))


def metrics_beside(checkpoint: str) -> dict | None:
    """The figures in a checkpoint's work dir, if they are of this checkpoint."""
    place = Path(checkpoint).expanduser()
    beside = (place if place.is_dir() else place.parent) / "metrics.json"
    if not beside.is_file():
        return None
    figures, newest = read_metrics(beside), Path(find_checkpoint(str(place))).name
    if figures.get("protocol/checkpoint") != newest:
        print(f"{beside} is of {figures.get('protocol/checkpoint')}, not of {newest}; the card has no figures")
        return None
    return figures
