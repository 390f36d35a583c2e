"""Draw images: python tools/sample.py work_dirs/jepat_digits "a red three on white paper" "a blue seven" """

import argparse
import io
import json
import logging
import re
import sys
from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from rich.console import Console
from rich.progress import Progress

from jepa_t.engine import load_config, set_threads
from jepa_t.engine.cli import friendly
from jepa_t.errors import UserError
from jepa_t.files import weights_hash, write_atomically
from jepa_t.pipeline import Pipeline, contact_sheet, enlarge


@friendly
def main(arguments: list[str] | None = None) -> None:
    """Parse, load, draw, write."""
    args = parse(arguments)
    if args.count < 1 or args.batch_size < 1:
        raise UserError(f"--count is {args.count} and --batch-size {args.batch_size}; both must be at least 1")
    if args.cfg_options and not args.config:
        raise UserError("--cfg-options changes a config file; name one with --config")
    logging.basicConfig(format="%(message)s")
    set_threads("auto")
    config = load_config(args.config, args.cfg_options).model.to_dict() if args.config else None
    pipeline = Pipeline.load(args.checkpoint, config, args.device)
    changes = {
        "preset": args.preset,
        "steps": args.steps,
        "solver": args.solver,
        "solver_steps": args.solver_steps,
        "order": args.order,
        "temperature": args.temperature,
        "guidance_scale": args.guidance,
    }
    captions = [caption for caption in args.captions for _ in range(args.count)]
    seeds = [args.seed + number for _ in args.captions for number in range(args.count)]
    device = next(pipeline.model.parameters()).device.type
    with (
        Progress(console=Console(stderr=True), transient=True) as bar,
        torch.autocast(device, torch.bfloat16, enabled=args.amp),
    ):
        task = bar.add_task("drawing", total=len(captions))
        images = pipeline(captions, seeds, args.batch_size, lambda done: bar.advance(task, done), **changes)
    facts = {
        "sampler": pipeline.settings(**changes),
        "checkpoint": str(args.checkpoint),
        "weights_sha256": weights_hash(pipeline.model.ema),
    }
    out = Path(args.out)
    images = [enlarge(image) for image in images]
    for number, (image, caption, seed) in enumerate(zip(images, captions, seeds, strict=True)):
        slug = re.sub(r"\W+", "_", caption.lower()).strip("_")[:60]
        save(out / f"{number:03d}_{slug}_seed{seed}.png", image, {"caption": caption, "seed": seed, **facts})
    sheet = out / "samples.png"
    save(sheet, contact_sheet(images, captions), {"captions": captions, "seeds": seeds, **facts})
    Console().print(f"{len(images)} image{'s' * (len(images) > 1)} and {sheet}")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draw images for captions with a trained model.")
    parser.add_argument("checkpoint", help="a .pth file, a work dir (its newest), or a saved folder")
    parser.add_argument("captions", nargs="+")
    parser.add_argument("--seed", type=int, default=0, help="of each caption's first image")
    parser.add_argument("--count", type=int, default=1, help="images per caption, each with the next seed")
    parser.add_argument("--preset", help="sampler preset: reference, quality, balanced or fast")
    parser.add_argument("--guidance", type=float, help="guidance scale; 1 is none")
    parser.add_argument("--temperature", type=float, help="of what is drawn: 1 as learned, below it surer, 0 certain")
    parser.add_argument("--steps", type=int, help="sampling steps")
    parser.add_argument("--solver", help="of flow matching: euler, ab2, heun or midpoint")
    parser.add_argument("--solver-steps", type=int, help="denoising steps in each sampling step")
    parser.add_argument("--order", help="random, halton, checkerboard or confidence")
    parser.add_argument("--out", "--work-dir", default="samples", help="folder for the images")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")
    parser.add_argument("--amp", action="store_true", help="bf16 autocast")
    parser.add_argument("--config", help="the model's config file, if it has components of your own")
    parser.add_argument("--cfg-options", nargs="+", action="extend", metavar="KEY=VALUE", help="change --config")
    return parser.parse_args(arguments)


def save(path: Path, image: Image.Image, facts: dict) -> None:
    """Write a PNG, whole or not at all, that carries what it was made from."""
    metadata = PngInfo()
    for name, value in facts.items():
        metadata.add_itxt(name, value if isinstance(value, str) else json.dumps(value))
    buffer = io.BytesIO()
    image.save(buffer, "png", pnginfo=metadata)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


if __name__ == "__main__":
    sys.exit(main())
