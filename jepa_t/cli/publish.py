"""Write a trained model as a folder to share: config, weights in half precision, and a model card; or push it."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import torch

from .. import hub
from ..card import Card, read_metrics
from ..data.text_files import NotText, decode_text
from ..engine.work_dir import METRICS
from ..errors import UserError
from ..files import find_checkpoint, weights_hash
from ..pipeline import Pipeline
from ..saved import CARD, CONFIG, WEIGHTS
from .shared import path


def add_arguments(parser: ArgumentParser) -> None:
    """Add what ``publish`` takes."""
    parser.add_argument(
        "checkpoint", help="a .pth file, a work dir (its newest), a saved folder, emoji, user/model on the hub"
    )
    parser.add_argument("folder", type=path, help="where to write, such as jepa_t/weights/emoji")
    parser.add_argument("--card", type=path, help="the card as a template; $figures, $config and others are filled in")
    parser.add_argument(
        "--metrics", type=path, help="figures of these weights, by jepa-t test; default: metrics.json beside them"
    )
    parser.add_argument("--data", help="what the model was trained on, for the card")
    parser.add_argument("--licence", help="of the weights, for the card, such as cc-by-4.0")
    parser.add_argument("--captions", nargs="+", help="drawn on the card's sheet")
    parser.add_argument("--push", metavar="USER/MODEL", help="push the folder's model to the hub as well")
    parser.add_argument("--private", action="store_true", default=None, help="a new repository is private")
    parser.add_argument("--revision", help="the branch to push to; default: the main one")


def run(args: Namespace) -> None:
    """Save the model, write its card, and share both if that was asked for."""
    if args.push:
        hub.check_name(args.push)
    elif args.private or args.revision:
        raise UserError("--private and --revision belong to --push USER/MODEL")
    said = given(args)
    draw = Pipeline.from_pretrained(args.checkpoint, device="cpu")
    own = draw.card is not None and not said  # which is passed on
    if not own and "metrics" not in said and (beside := metrics_beside(args.checkpoint, weights_hash(draw.model.ema))):
        said["metrics"] = beside
    stays = not own and not said and (Path(args.folder) / CARD).is_file()
    if stays:
        print(f"{Path(args.folder) / CARD} stays; --card, --data or --licence write another")
    card = None if own or stays else Card(args.push or "", **said)
    draw.save_pretrained(args.folder, torch.float16, card, args.push)
    print(f"{args.folder}: {(Path(args.folder) / WEIGHTS).stat().st_size / 1e6:.1f} MB")
    if args.push:
        plain = card is not None and not said
        print(hub.push(args.folder, args.push, args.private, args.revision, keep_card=plain))


def given(args: Namespace) -> dict[str, Any]:
    """What the command line says of the card."""
    said = {name: getattr(args, name) for name in ("data", "licence", "captions") if getattr(args, name) is not None}
    if args.metrics:
        said["metrics"] = read_metrics(args.metrics)
    try:
        if args.card:
            said["template"] = decode_text(Path(args.card).read_bytes())
    except NotText as error:
        raise UserError(f"the card {args.card!r} {error}; save it as UTF-8") from error
    return said


def metrics_beside(checkpoint: str, weights: str) -> dict | None:
    """The figures in a checkpoint's work dir, if they are of this checkpoint and its averaged weights."""
    place = Path(checkpoint).expanduser()
    beside = (place if place.is_dir() else place.parent) / METRICS
    if not place.exists() or (place / CONFIG).is_file() or not beside.is_file():  # a name, or a saved folder
        return None
    figures, newest = read_metrics(beside), Path(find_checkpoint(str(place))).name
    if figures.get("protocol/checkpoint") != newest:
        print(f"{beside} is of {figures.get('protocol/checkpoint')}, not of {newest}; the card has no figures")
        return None
    if figures.get("protocol/weights_sha256") != weights:
        print(f"{beside} is of other weights than {newest} has; the card has no figures")
        return None
    return figures
