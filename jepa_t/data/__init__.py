"""A user's images and captions, and what a training reads of them."""

from .captioned import CaptionedImages
from .captions import Captions
from .class_prompts import ClassPrompts
from .collate import keep_batch
from .imagenet import ImageNet
from .images import BrokenImage, ImageDataset, centre_crop, decode
from .latents import CachedLatents

__all__ = [
    "BrokenImage",
    "CachedLatents",
    "CaptionedImages",
    "Captions",
    "ClassPrompts",
    "ImageDataset",
    "ImageNet",
    "centre_crop",
    "decode",
    "keep_batch",
]
