"""Where a tone of the skin is lost between caption and image: python examples/emoji_tones.py [MODEL]

Of a role in two neighbouring tones the difference is taken, three times: of the encoded captions, of the real images as
the tokenizer keeps them, and of what is drawn. Each is projected on what it ought to be, so 1 is all of it. Captions
ought to differ as those of other roles do, images as the real ones. ``held out`` are roles that training never shows in
the first of the tones.
"""

import sys
from collections import defaultdict

import torch
from torch import Tensor

from jepa_t import Pipeline
from jepa_t.worlds.emoji.captions import captions
from jepa_t.worlds.emoji.catalogue import TONES, Emoji, catalogue
from jepa_t.worlds.emoji.rendering import render

model = Pipeline.from_pretrained(sys.argv[1] if len(sys.argv) > 1 else "emoji", device="cpu").model
known: dict[tuple, dict[str | None, Emoji]] = defaultdict(dict)
for one in catalogue():
    known[one.family][one.tone] = one
roles = [of for of in known.values() if all(tone in of and of[tone].split != "unseen_gender" for tone in TONES)]


def difference(of: dict[str, Tensor], first: str, second: str) -> Tensor:
    """Of all roles ``[R, ...]`` in one tone to those in another, flat."""
    return (of[first] - of[second]).flatten(1)


def kept(found: Tensor, expected: Tensor) -> Tensor:
    """How much of what is expected is found, for each role ``[R]``."""
    return (found * expected).sum(1) / expected.square().sum(1)


said = {tone: [captions(of[tone])[0] for of in roles] for tone in TONES}
with torch.no_grad():
    text = {tone: model.ema.text_tokenizer(said[tone]).pooled for tone in TONES}
real = {tone: render([of[tone].text for of in roles]) / 127.5 - 1 for tone in TONES}
tokenized = {tone: model.image_tokenizer.decode(model.image_tokenizer.encode(real[tone])) for tone in TONES}
drawn = {tone: model.generate(said[tone], range(len(roles))) for tone in TONES}

for first, second in (("light", "medium-light"), ("medium", "medium-light"), ("dark", "medium-dark")):
    shown = torch.tensor([of[first].split == of[second].split == "seen" for of in roles])
    held = torch.tensor([of[first].split == "unseen_tone" for of in roles])
    words = difference(text, first, second)
    usual = words[shown].mean(0).expand_as(words)
    pixels = difference(real, first, second)
    shares = {
        "caption": kept(words, usual),
        "tokenizer": kept(difference(tokenized, first, second), pixels),
        "drawn": kept(difference(drawn, first, second), pixels),
    }
    told = "; ".join(f"{name} {x[shown].mean():.2f}, held out {x[held].mean():.2f}" for name, x in shares.items())
    print(f"{first} against {second}: {told}")
