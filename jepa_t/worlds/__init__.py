"""Small worlds to train on and to be judged in, each a folder: scenes, captions, rendering, prompts, judge."""

from . import digits, emoji, shapes

__all__ = ["digits", "emoji", "shapes"]
