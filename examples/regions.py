"""Scenes with one caption for the left and one for the right, and how often each part is as its caption says.

python examples/regions.py CHECKPOINT [COUNT] [FOLDER], with a training of jepat_shapes on located scenes.
"""

import random
import sys
from pathlib import Path

import torch

from jepa_t import Pipeline
from jepa_t.sheets import contact_sheet, enlarge, to_image
from jepa_t.worlds.shapes import ShapePrompts
from jepa_t.worlds.shapes.captions import parse
from jepa_t.worlds.shapes.judge import judge, read
from jepa_t.worlds.shapes.scenes import preset_named

if len(sys.argv) < 2:
    sys.exit(__doc__)
count = int(sys.argv[2]) if len(sys.argv) > 2 else 400
folder = Path(sys.argv[3] if len(sys.argv) > 3 else "samples")
draw, preset, chosen = Pipeline.from_pretrained(sys.argv[1]), preset_named("tiny"), random.Random(0)
third = preset.size // 3
left = torch.zeros(preset.size, preset.size, dtype=torch.bool)
left[:, :third] = True


prompts = ShapePrompts("tiny", splits=("seen",), families=("located",), per_split=20 * count)
said: dict[tuple[str, str], list[str]] = {}
for text in prompts.captions:
    said.setdefault((parse(text)["place"].split()[-1], parse(text)["background"]), []).append(text)
grounds = [chosen.choice(["black", "white"]) for _ in range(count)]
lefts, rights = ([chosen.choice(said[side, ground]) for ground in grounds] for side in ("left", "right"))
regions = [[(text, left)] for text in lefts]
plain = draw(rights, range(count), output="tensor").images
images = draw(rights, range(count), regions=regions, output="tensor").images


def right(images: torch.Tensor, captions: list[str]) -> torch.Tensor:
    """Which images show what their captions say."""
    return torch.tensor([verdict["all"] for verdict in judge(read(images, preset), [*map(parse, captions)], preset)])


paper = images[:, :, :, third : third + third].flatten(2).median(2).values[:, :, None, None]
lefts_right = right(torch.where(left, images, paper), lefts)
rights_right = right(torch.where(left, paper, images), rights)
print(f"one caption for the whole: {right(plain, rights).float().mean():.3f}")
print(f"left as its caption says: {lefts_right.float().mean():.3f}, right: {rights_right.float().mean():.3f}")
print(f"both: {(lefts_right & rights_right).float().mean():.3f}")
titles = [f"{one} | {other}" for one, other in zip(lefts[:12], rights[:12], strict=True)]
folder.mkdir(parents=True, exist_ok=True)
contact_sheet([enlarge(to_image(image)) for image in images[:12]], titles).save(folder / "regions.png")
