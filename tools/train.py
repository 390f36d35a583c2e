"""Train a config: python tools/train.py configs/jepat_digits.py"""

import argparse
import importlib.util
import sys

from jepa_t.engine import JEPATRunner, set_threads
from jepa_t.engine.checkpoint import Interrupted
from jepa_t.engine.cli import add_run_arguments, friendly, resume_command, run_config
from jepa_t.engine.compat import told_of_loss
from jepa_t.errors import UserError
from jepa_t.files import find_checkpoint, load_checkpoint


@friendly
def main(arguments: list[str] | None = None) -> None:
    """Parse, build, train."""
    parser = argparse.ArgumentParser(description="Train a config.")
    add_run_arguments(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from the newest checkpoint of the work dir, or from this one",
    )
    parser.add_argument("--amp", action="store_true", help="bf16 autocast, on a GPU or a CPU")
    args = parser.parse_args(arguments)
    cfg = run_config(args)
    if cfg.get("train_cfg") is None:
        raise UserError(f"{args.config} has no train_cfg; train one of the configs that do")
    if args.amp:
        cfg.optim_wrapper.precision = "bf16"
    if args.resume or cfg.get("resume"):
        cfg.resume = True
        cfg.load_from = find_checkpoint(args.resume if args.resume not in (None, "auto") else cfg.work_dir)
        cfg.threads = load_checkpoint(cfg.load_from).get("meta", {}).get("threads", cfg.get("threads", "auto"))
    cfg.threads = set_threads(cfg.get("threads", "auto"))
    tensorboard = {"type": "TensorboardVisBackend"}
    backends = cfg.visualizer.vis_backends if cfg.get("visualizer") else [tensorboard]
    if tensorboard not in backends and importlib.util.find_spec("tensorboard"):
        backends.append(tensorboard)
    runner = JEPATRunner.from_cfg(cfg)
    runner.logger.info(f"threads: {cfg.threads}; work dir: {runner.work_dir}")
    remedy = f"go on with: {resume_command(sys.argv, args.resume)}"
    try:
        with told_of_loss(remedy):
            runner.train()
    except Interrupted as stop:
        raise Interrupted(f"{stop}\n{remedy}") from None


if __name__ == "__main__":
    sys.exit(main())
