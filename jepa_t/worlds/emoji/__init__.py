"""Emoji: 3,500 drawings with names, most of them made of words that others have too."""

from .dataset import EmojiImages
from .labels import LabelledEmoji
from .metric import EmojiMetric
from .prompts import EmojiPrompts

__all__ = ["EmojiImages", "EmojiMetric", "EmojiPrompts", "LabelledEmoji"]
