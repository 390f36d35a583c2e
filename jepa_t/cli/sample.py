"""Draw images for captions with a trained model: a PNG each, and a sheet of them all."""

import dataclasses
import io
import json
import logging
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from rich.console import Console
from rich.progress import Progress

from ..data.broken import BrokenSample
from ..data.decoding import decode, to_mask, to_rgb
from ..drawing import Drawing
from ..engine import load_config, set_threads
from ..errors import UserError, check_integer
from ..files import weights_hash, write_atomically
from ..pipeline import Pipeline
from ..sheets import contact_sheet, enlarge, gif
from .shared import add_cfg_options, path

SHOWN = 256  # images on the sheet, at most
MOST = 10**6  # images of a caption


def add_arguments(parser: ArgumentParser) -> None:
    """Add what ``sample`` takes."""
    parser.add_argument("checkpoint", help="a .pth file, a work dir (its newest), a saved folder, emoji, or user/model")
    parser.add_argument("captions", nargs="+")
    parser.add_argument("--seed", type=int, default=0, help="of each caption's first image")
    parser.add_argument("--count", type=int, default=1, help="images per caption, each with the next seed")
    parser.add_argument("--preset", help="sampler preset: reference, quality, balanced, fast, few or one")
    parser.add_argument("--guidance", type=float, help="guidance scale; 1 is none")
    parser.add_argument("--temperature", type=float, help="of what is drawn: 1 as learned, below it surer, 0 certain")
    parser.add_argument("--steps", type=int, help="sampling steps")
    parser.add_argument("--solver", help="of flow matching: euler, ab2, heun or midpoint")
    parser.add_argument("--solver-steps", type=int, help="denoising steps in each sampling step")
    parser.add_argument("--order", help="random, halton, checkerboard or confidence")
    parser.add_argument("--negative", help="a caption that guidance leads away from, in place of the null text")
    parser.add_argument(
        "--image", type=path, help="a file to change where --mask is white; of the size that the model draws"
    )
    parser.add_argument(
        "--mask", type=path, help="a file, white where --image is drawn anew; or a share of tokens, such as 0.5"
    )
    parser.add_argument(
        "--region",
        nargs=2,
        action="append",
        metavar=("CAPTION", "MASK"),
        help="a caption of a part of the images, and a file, white where it lies; may be given several times",
    )
    parser.add_argument("--animate", action="store_true", help="also a GIF of each image as it forms")
    parser.add_argument("--word-maps", action="store_true", help="also sheets of where in its caption each image looks")
    parser.add_argument(
        "--out",
        "--work-dir",
        type=path,
        default="samples",
        help="folder for images/, samples.png with the first 256 of them, and more; an image of an earlier call is "
        "replaced by one with its number, caption and seed, and else stays there",
    )
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")
    parser.add_argument("--revision", help="of user/model on the hub: a branch, a tag or a commit")
    parser.add_argument("--amp", action="store_true", help="bf16 autocast")
    parser.add_argument("--config", help="the model's config file, if it has components of your own")
    add_cfg_options(parser, "--config")


def run(args: Namespace) -> None:
    """Load the model, draw the captions, and write the images."""
    check_integer("--batch-size", args.batch_size)
    if check_integer("--count", args.count) > MOST:
        raise UserError(f"--count is {args.count}; it must be at most {MOST}")
    if args.cfg_options and not args.config:
        raise UserError("--cfg-options changes a config file; name one with --config")
    if (args.image is None) != (args.mask is None):
        given, absent = ("--image", "--mask") if args.mask is None else ("--mask", "--image")
        raise UserError(f"{given} is given without {absent}; give both, or neither")
    logging.basicConfig(format="%(message)s")
    set_threads("auto")
    config = load_config(args.config, args.cfg_options).model.to_dict() if args.config else None
    pipeline = Pipeline.from_pretrained(args.checkpoint, config, args.device, args.revision)
    changes = {
        "preset": args.preset,
        "steps": args.steps,
        "order": args.order,
        "temperature": args.temperature,
        "guidance_scale": args.guidance,
    }
    draw = {"solver": args.solver, "solver_steps": args.solver_steps}
    changes["draw"] = {name: value for name, value in draw.items() if value is not None} or None
    captions = [caption for caption in args.captions for _ in range(args.count)]
    seeds = [args.seed + number for _ in args.captions for number in range(args.count)]
    parts = pipeline.stream(
        captions,
        seeds,
        negative=args.negative,
        images=None if args.image is None else read_image("--image", args.image),
        mask=None if args.mask is None else read_mask(args.mask),
        regions=[(text, read_image("--region", file, to_mask)) for text, file in args.region or []] or None,
        trajectory=args.animate,
        word_maps=args.word_maps,
        batch_size=args.batch_size,
        **changes,
    )
    chosen = pipeline.sampler(**changes)
    facts = {
        "sampler": dataclasses.asdict(chosen) if dataclasses.is_dataclass(chosen) else type(chosen).__name__,
        "checkpoint": str(args.checkpoint),
        "weights_sha256": weights_hash(pipeline.model.ema),
    }
    asked = {"negative": args.negative, "image": args.image, "mask": args.mask, "regions": args.region}
    facts |= {name: value for name, value in asked.items() if value is not None}
    device = next(pipeline.model.parameters()).device.type
    with torch.autocast(device, torch.bfloat16, enabled=args.amp):
        written = _write_all(parts, len(captions), Path(args.out), facts, args.animate)
    for wanted, name in ((args.animate, "animations"), (args.word_maps, "words")):
        if wanted:
            folder = Path(args.out) / name
            there = any(path.parent == folder for path in written)
            print(f"{name} in {folder}" if there else f"no {name}, since nothing was drawn")


def _write_all(parts: Iterable[Drawing], count: int, out: Path, facts: dict, animate: bool) -> set[Path]:
    """Write images as they are drawn, a sheet of the first of them, and say what there is; the files.

    Raises:
        KeyboardInterrupt: It came while they were drawn; says how many there are.
    """
    folder, written, shown = out / "images", set[Path](), list[tuple[Image.Image, str, int]]()
    before = {*folder.glob("*.png")}
    try:
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("drawing", total=count)
            for part in parts:
                written.update(_write_part(part, out, facts, animate))
                images = cast(list[Image.Image], part.images)
                new = zip(images, map(str, part.captions), cast(list[int], part.seeds), strict=True)
                shown += list(new)[: SHOWN - len(shown)]
                bar.advance(task, len(images))
    except KeyboardInterrupt:
        done = sum(path.parent == folder for path in written)
        raise KeyboardInterrupt(f"stopped; {done} of {count} images are in {folder}, and no sheet") from None
    images, captions, seeds = zip(*shown, strict=True)
    sheet, several = out / "samples.png", "s" * (count > 1)
    views = [enlarge(image) for image in images]
    save(sheet, contact_sheet(views, captions), {"captions": list(captions), "seeds": list(seeds), **facts})
    which = "all" if count == len(shown) else f"the first {SHOWN}"
    replaced = f", {len(again)} in the place of earlier ones" if (again := before & written) else ""
    print(f"{count} image{several} in {folder}{replaced}; {which} on one sheet: {sheet}")
    if older := len(before - written):
        print(f"beside them: {older} of earlier calls, which evaluate would read too; another --out keeps them apart")
    return written


def _write_part(part: Drawing, out: Path, facts: dict, animate: bool) -> list[Path]:
    """Write what was drawn together; the files."""
    written = []
    for index, (number, caption, seed) in enumerate(zip(part.rows, map(str, part.captions), part.seeds, strict=True)):
        image = cast(Image.Image, part.images[index])
        slug = re.sub(r"\W+", "_", caption.lower()).strip("_")[:60]
        name, own = f"{number:03d}_{slug}_seed{seed}", {"caption": caption, "seed": seed, **facts}
        save(file := out / "images" / f"{name}.png", image, own)
        written.append(file)
        if animate:
            animation = gif(part.frames(index) or [image])
            write_atomically(file := out / "animations" / f"{name}.gif", partial(_write, animation))
            written.append(file)
        if part.word_maps and (words := part.word_maps[index]) is not None:
            save(file := out / "words" / f"{name}.png", words.sheet(image), own)
            written.append(file)
    return written


def read_image(option: str, file: str, convert: Callable[[Image.Image], Image.Image] = to_rgb) -> Image.Image:
    """An image file, as ``convert`` makes it.

    Raises:
        UserError: It isn't there, or no image.
    """
    try:
        return decode(file, convert)
    except BrokenSample as error:
        raise UserError(f"{option} {file!r} can't be read: {error}") from error


def read_mask(given: str) -> float | Image.Image:
    """A share, or an image file.

    Raises:
        UserError: It is neither.
    """
    try:
        return float(given)
    except ValueError:
        return read_image("--mask", given, to_mask)


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def save(path: Path, image: Image.Image, facts: dict) -> None:
    """Write a PNG, whole or not at all, that carries what it was made from."""
    metadata = PngInfo()
    for name, value in facts.items():
        metadata.add_itxt(name, value if isinstance(value, str) else json.dumps(value))
    buffer = io.BytesIO()
    image.save(buffer, "png", pnginfo=metadata)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))
