"""Draw the sheets of docs/emoji.md, by default with the model that comes along: emoji_sheets.py [FOLDER] [MODEL]"""

import sys
from pathlib import Path

from PIL import Image

from jepa_t import Pipeline
from jepa_t.sheets import contact_sheet, enlarge, to_image
from jepa_t.worlds.emoji import EmojiPrompts

SHOWN = (
    *("a woman astronaut with dark skin", "a fox", "the flag of Japan", "a man cook with light skin"),
    *("waving hand, medium skin", "a hatching chick", "an octopus", "a blue fox"),
)
INVENTED = (
    *("a red fox", "a woman astronaut with a red heart", "a red cat face", "a red circle with sunglasses"),
    *("a dragon with dark skin", "a robot firefighter", "a purple apple", "a pizza with smiling eyes"),
    *("a man with bunny ears with dark skin", "a woman elf with red hair", "a rainbow heart", "the flag of the moon"),
)
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
pipe = Pipeline.from_pretrained(sys.argv[2] if len(sys.argv) > 2 else "emoji")


def beside_truth(split: str) -> Image.Image:
    """Prompts of a split, each drawn beside the real emoji; the first 24 by their number, none picked."""
    prompts = EmojiPrompts((split,), per_split=24, images=True)
    drawn, pairs = pipe(prompts.captions, seeds=range(len(prompts))).images, []
    for image, real in zip(drawn, map(to_image, prompts.images), strict=True):
        pair = Image.new("RGB", (2 * image.width + 4, image.height), "white")
        pair.paste(image, (0, 0))
        pair.paste(real, (image.width + 4, 0))
        pairs.append(enlarge(pair))
    return contact_sheet(pairs, prompts.captions)


def drawn(captions: tuple[str, ...], columns: int) -> Image.Image:
    """Captions, each drawn from the seed 0."""
    images = [enlarge(image) for image in pipe(captions, seeds=[0] * len(captions)).images]
    return contact_sheet(images, captions, columns)


folder.mkdir(parents=True, exist_ok=True)
beside_truth("seen").save(folder / "emoji_seen.png")
beside_truth("unseen_tone").save(folder / "emoji_unseen.png")
beside_truth("unseen_colour").save(folder / "emoji_colours.png")
drawn(INVENTED, columns=6).save(folder / "emoji_invented.png")
drawn(SHOWN, columns=4).save(folder / "emoji_captions.png")
