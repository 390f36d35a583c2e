"""What the images of siblings alone say of emoji that training never shows: python examples/emoji_siblings.py

No network draws here. A woman mechanic is guessed from the real images of the man and of the person: to each is added
what makes a woman of it, the mean over all images of such, or over the five that are most like it. The guesses are
averaged.
"""

import torch
from torch import Tensor

from jepa_t.worlds.emoji import EmojiMetric
from jepa_t.worlds.emoji.catalogue import TONES, catalogue

Key = tuple[str, str | None, str | None]  # role, gender, tone
judge = EmojiMetric()
images = judge.gallery.images
keys: list[Key] = [(one.role, one.gender, one.tone) for one in catalogue()]
shown = {key: number for number, (key, one) in enumerate(zip(keys, catalogue(), strict=True)) if one.split == "seen"}


def siblings(asked: Key) -> list[Key]:
    """Those shown that differ in gender alone, or that of the nearest tone where all genders of the role are shown."""
    role, gender, tone = asked
    tones = [(role, gender, other) for other in TONES if (role, gender, other) in shown]
    if tones:
        return [min(tones, key=lambda key: abs(TONES.index(key[2]) - TONES.index(tone)))]
    return [(role, other, tone) for other in ("man", "woman", "person") if (role, other, tone) in shown]


def guess(asked: Key, nearest: int | None) -> Tensor:
    """Siblings ``[3, H, W]``, changed as the nearest images that are shown both before and after the change."""
    guesses = []
    for sibling in siblings(asked):
        changed = [place for place in (1, 2) if sibling[place] != asked[place]]
        like = [key for key in shown if all(key[place] == sibling[place] for place in changed)]
        after = [tuple(asked[place] if place in changed else key[place] for place in range(3)) for key in like]
        pairs = torch.tensor([(shown[a], shown[b]) for a, b in zip(like, after, strict=True) if b in shown])
        first, second = images[pairs].unbind(1)
        order = (first - images[shown[sibling]]).square().flatten(1).sum(1).argsort()[:nearest]
        guesses.append(images[shown[sibling]] + (second - first)[order].mean(0))
    return torch.stack(guesses).mean(0).clamp(-1, 1)


for split in ("unseen_tone", "unseen_gender"):
    numbers = [number for number, one in enumerate(catalogue()) if one.split == split]
    for name, nearest in (("all", None), ("the 5 most alike", 5)):
        drawn = torch.stack([guess(keys[number], nearest) for number in numbers])
        found = judge.judge(drawn, torch.tensor(numbers))
        counted = {figure: [x for x in found[figure] if x is not None] for figure in ("r1", "role", "gender", "skin")}
        shares = ", ".join(f"{figure} {sum(values) / len(values):.2f}" for figure, values in counted.items())
        print(f"{split}, from the change of {name}: {shares}")
