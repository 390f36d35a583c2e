"""Captions and images."""

from .captioned import CaptionedImages
from .captions import Captions
from .class_prompts import ClassPrompts
from .digit_prompts import DigitPrompts
from .digits import InkedDigits, keep_batch
from .imagenet import ImageNet
from .images import BrokenImage, ImageDataset, centre_crop, decode
from .latents import CachedLatents
from .shapes import ShapePrompts, ShapeScenes

__all__ = [
    "BrokenImage",
    "CachedLatents",
    "CaptionedImages",
    "Captions",
    "ClassPrompts",
    "DigitPrompts",
    "ImageDataset",
    "ImageNet",
    "InkedDigits",
    "ShapePrompts",
    "ShapeScenes",
    "centre_crop",
    "decode",
    "keep_batch",
]
