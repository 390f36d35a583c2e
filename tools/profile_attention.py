"""Attention back ends against each other: python tools/profile_attention.py"""

import argparse
import statistics
import sys
import time

import torch
from rich.console import Console
from rich.table import Table

from jepa_t.attention import attention
from jepa_t.engine.cli import friendly

# Batch, heads, tokens, channels per head: the digits' predictor, scenes, and an image of 256 tokens or more.
SHAPES = [(128, 4, 20, 24), (64, 4, 68, 48), (16, 8, 256, 32), (4, 8, 512, 64)]


def seconds(backend: str, inputs: list[torch.Tensor], valid: torch.Tensor) -> float:
    """One forward and backward pass."""
    start = time.perf_counter()
    attention(*inputs, valid, backend).sum().backward()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


@friendly
def main(arguments: list[str] | None = None) -> None:
    """Time the back ends in turn and print the ratios."""
    parser = argparse.ArgumentParser(description="Paired times of the attention back ends, forward and backward.")
    parser.add_argument("--backends", nargs="+", default=["math", "sdpa"], help="the first is the yardstick")
    parser.add_argument("--rounds", type=int, default=9, help="counted rounds, after two to warm up")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    first, *others = args.backends
    table = Table("batch, heads, tokens, channels", *(f"{name} / {first}" for name in others))
    for batch, heads, tokens, channels in SHAPES:
        inputs = [torch.randn(batch, heads, tokens, channels, device=device, requires_grad=True) for _ in range(3)]
        valid = torch.ones(batch, tokens, dtype=torch.bool, device=device)
        rounds = [[seconds(name, inputs, valid) for name in args.backends] for _ in range(args.rounds + 2)][2:]
        cells = []
        for index in range(1, len(args.backends)):
            ratios = sorted(times[index] / times[0] for times in rounds)
            cells.append(f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        table.add_row(f"{batch}, {heads}, {tokens}, {channels}", *cells)
    Console().print(table, f"on {device}, one thread: medians of paired ratios, with their range")


if __name__ == "__main__":
    sys.exit(main())
