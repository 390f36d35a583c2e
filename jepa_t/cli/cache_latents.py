"""Encode a config's training images once, both flips."""

import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

import torch
from mmengine.device import get_device
from mmengine.dist import get_rank, init_dist

from ..data.latent_cache import BROKEN, SHARD, Cache, write_cache
from ..engine import set_threads
from ..engine.compat import leave_process_group
from ..errors import UserError
from ..registry import DATASETS, TOKENIZERS, build
from .shared import add_config_arguments, add_launcher, path, run_config


def add_arguments(parser: ArgumentParser) -> None:
    """Add what ``cache-latents`` takes."""
    add_config_arguments(parser)
    add_launcher(parser)
    parser.add_argument(
        "--out", type=path, help="folder of the cache; default the one that the config's CachedLatents reads"
    )
    parser.add_argument("--batch-size", type=int, help="images encoded at once, with their mirror images; default 64")
    parser.add_argument("--shard", type=int, help=f"images in a file; default {SHARD}")
    parser.add_argument("--verify", action="store_true", help="only compare the checksums of the cache that is there")


def run(args: Namespace) -> int:
    """Encode the config's data set, or verify what has been encoded."""
    cfg = run_config(args)
    config = cfg.train_dataloader.dataset.to_dict()
    out = args.out or config.get("folder")
    if out is None:
        raise UserError("train_dataloader.dataset is no CachedLatents, which would name a folder; give --out DIR")
    out, sizes = path(out), {"shard": args.shard, "batch_size": args.batch_size}
    given = {name: value for name, value in sizes.items() if value is not None}
    if args.verify and given:
        raise UserError(f"--verify compares what is there, and takes no --{next(iter(given)).replace('_', '-')}")
    if args.verify:
        return verify(out)
    if args.launcher != "none" and not torch.distributed.is_initialized():
        init_dist(args.launcher, **cfg.env_cfg.dist_cfg)
    set_threads(cfg.get("threads", "auto"))
    config = config.get("dataset", config)
    if "image_tokenizer" not in cfg.model:
        raise UserError(f"{args.config} has no model.image_tokenizer, whose latents could be kept")
    images, device = build(config, DATASETS), get_device()
    tokenizer = build(cfg.model.image_tokenizer.to_dict(), TOKENIZERS).to(device)
    workers, start = cfg.train_dataloader.get("num_workers", 0), time.perf_counter()
    for name in write_cache(out, images, tokenizer, config, workers=workers, **given):
        print(f"process {get_rank()}: shard {name} after {time.perf_counter() - start:.1f} s", flush=True)
    leave_process_group()
    cache = Cache(out)
    broken = sum(len(shard["broken"]) for shard in cache.shards.values())
    if cache.absent:
        print(f"process {get_rank()}: done; other processes still write {len(cache.absent)} shards")
        return 0
    where = f", named in {Path(out) / BROKEN}" if broken else ""
    print(f"{len(images.names)} images in {out}, of which {broken} are broken{where}")
    return 0


def verify(folder: str) -> int:
    """Compare all checksums, and return 2 if one differs or a shard is absent."""
    cache = Cache(folder)
    damaged = cache.verify()
    for name in damaged:
        print(f"shard {name} is damaged; remove {folder}/{name}.* and run this command without --verify")
    for name in cache.absent:
        print(f"shard {name} isn't there; run this command without --verify")
    print(f"{len(cache.shards) - len(damaged)} of {len(cache.shards) + len(cache.absent)} shards are whole")
    return 2 if damaged or cache.absent else 0
