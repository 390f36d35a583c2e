"""One pipeline under load: from many threads, very often, and with very many captions."""

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import children
import numpy as np
import tiny_run
from rows import Row

from jepa_t.pipeline import Pipeline

THREADS = 8
CAPTIONS = ["a red three on white paper", "the digit five in green ink"]
FLAT = 8 * 2**20  # bytes that a process's memory may waver by
PER_IMAGE = 4096  # bytes of an image of 8 x 8 pixels that is kept, with its caption and seed


def threads(count: int, random: Random) -> Row:
    """Eight threads draw at once, each with options of its own: each gets what it gets alone."""
    row, draw = Row("one `Pipeline`, 8 threads"), Pipeline.from_pretrained(tiny_run.checkpoint(), device="cpu")
    options = [
        {"guidance_scale": random.uniform(0, 4), "steps": random.randint(1, 4), "temperature": random.uniform(0.2, 1)}
        | {"draw": {"solver": random.choice(["euler", "ab2", "heun"]), "solver_steps": random.randint(2, 6)}}
        for _ in range(THREADS)
    ]

    def pixels(chosen: dict) -> bytes:
        images = draw(CAPTIONS, [0, 1], **chosen).images
        return b"".join(np.asarray(image).tobytes() for image in images)

    alone = [pixels(chosen) for chosen in options]
    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(pixels, options * (count // THREADS)))
    row.tried = len(together)
    for number, found in enumerate(together):
        if found != alone[number % THREADS]:
            row.wrong(f"call {number} got the images of other options")
    row.facts = f"{len(set(alone))} kinds of options"
    return row


def loop(count: int, _random: Random) -> Row:
    """A pipeline is called again and again: memory stays as it is after a tenth of the calls."""
    row = Row("calls of a `Pipeline` in a loop", tried=count)

    def work() -> None:
        draw = Pipeline.from_pretrained(tiny_run.checkpoint(), device="cpu")
        for number in range(count):
            if number == count // 10:
                gc.collect()
                print(f"# {children.resident()}")
            draw(CAPTIONS[number % 2], [number], steps=1, guidance_scale=1.0)
        gc.collect()
        print(f"# {children.resident()}")

    before, after = _measured(row, work)
    return _judged(row, after - before, FLAT)


def captions(count: int, _random: Random) -> Row:
    """Very many captions at once: what is held grows by the images alone."""
    row = Row("captions in one call", tried=count)

    def work() -> None:
        draw = Pipeline.from_pretrained(tiny_run.checkpoint(), device="cpu")
        draw(CAPTIONS * 64, range(128), steps=1, guidance_scale=1.0)
        print(f"# {children.resident()}")
        many = (CAPTIONS[number % 2] for number in range(count))
        images = draw(many, range(count), steps=1, guidance_scale=1.0).images
        print(f"# {children.resident()}")
        assert len(images) == count

    before, after = _measured(row, work)
    return _judged(row, after - before, FLAT + PER_IMAGE * count)


def _measured(row: Row, work: object) -> tuple[int, int]:
    with children.scratch() as folder:
        ended = children.run(work, Path(folder), timeout=3000)
    found = [int(line[2:]) for line in ended.said.splitlines() if line.startswith("# ")]
    if ended.code or len(found) != 2:
        row.wrong(f"code {ended.code}: {ended.line}")
        return 0, 0
    return found[0], found[1]


def _judged(row: Row, grown: int, allowed: int) -> Row:
    row.facts = f"memory grew by {grown / 2**20:.1f} MB; {allowed / 2**20:.0f} are allowed"
    if grown > allowed:
        row.wrong(row.facts)
    return row
