"""A page to play with, on this machine alone: draw, watch, redraw a part, compare models side by side."""

import threading
from argparse import ArgumentParser, Namespace

from ..engine import set_threads
from ..errors import UserError
from ..pipeline import Pipeline


def add_arguments(parser: ArgumentParser) -> None:
    """Add what ``demo`` takes."""
    kinds = "models side by side: emoji, .pth files, work dirs, saved folders, or user/model on the hub"
    parser.add_argument("models", nargs="*", metavar="MODEL", default=["emoji"], help=f"{kinds}; default: emoji")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")


def run(args: Namespace) -> None:
    """Load the models and serve the page until Ctrl-C."""
    names = list(dict.fromkeys(args.models))
    if len(names) < len(args.models):
        raise UserError(f"a model is named twice among {', '.join(args.models)}; name each once")
    if args.port is not None and not 1 <= args.port <= 65535:
        raise UserError(f"--port is {args.port}; it must lie between 1 and 65535")
    from ..demo.actions import warm
    from ..demo.page import build, gradio, launch

    gradio()
    set_threads("auto")
    models = {name: Pipeline.from_pretrained(name, device=args.device) for name in names}
    page = build(models)
    print(f"{launch(page, args.port)}  (Ctrl-C ends it)", flush=True)
    threading.Thread(target=warm, args=(models,), daemon=True).start()
    try:
        threading.Event().wait()
    finally:
        page.close(verbose=False)
