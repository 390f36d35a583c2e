"""Tensors as images, and several images on one sheet."""

import io
import textwrap
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor


def to_bytes(images: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8, rounded to the nearest; uint8 stays."""
    return images if images.dtype == torch.uint8 else images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def to_image(image: Tensor) -> Image.Image:
    """An image ``[3, H, W]`` in [-1, 1] as a PIL image."""
    return Image.fromarray(to_bytes(image).permute(1, 2, 0).cpu().numpy())


def hatch(images: Tensor, masked: Tensor, grid: tuple[int, int]) -> Tensor:
    """Images ``[B, 3, H, W]`` in [-1, 1] with cells of two greys, as on a chessboard, over their masked tokens.

    Args:
        images: Partly drawn.
        masked: True at tokens that aren't there yet ``[B, N]``.
        grid: Rows and columns of tokens.
    """
    rows, columns = (torch.arange(side, device=images.device) for side in grid)
    grey = 0.55 + 0.2 * ((rows[:, None] + columns) % 2)  # [h, w]
    stride = images.shape[-1] // grid[1]
    masked, grey = (
        x.repeat_interleave(stride, -2).repeat_interleave(stride, -1) for x in (masked.unflatten(1, grid), grey)
    )
    return torch.where(masked[:, None], grey.to(images.dtype), images)


def heat_map(image: Image.Image, heat: Tensor) -> Image.Image:
    """An image under red, the more the higher a number for each of its cells is; the highest hides it nearly.

    Args:
        image: Any.
        heat: Numbers of at least 0, or NaN where there is none ``[h, w]``; the highest is the measure.
    """
    heat = heat.nan_to_num(0.0).float().cpu()
    opacity = heat / heat.max().clamp(min=torch.finfo(torch.float32).tiny) * 217  # of 255
    mask = Image.fromarray(opacity.round().to(torch.uint8).numpy()).resize(image.size, Image.Resampling.NEAREST)
    grey = image.convert("L").convert("RGB")
    return Image.composite(Image.new("RGB", image.size, (255, 0, 0)), grey, mask)


def enlarge(image: Image.Image, side: int = 128) -> Image.Image:
    """Small images by a whole factor, each pixel a square, until no side is below ``side``."""
    factor = -(-side // min(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def strip(images: Sequence[Image.Image], side: int = 128) -> Image.Image:
    """Images of one size beside each other, enlarged to at least ``side`` pixels."""
    views = [enlarge(image, side) for image in images]
    joined = Image.new("RGB", (views[0].width * len(views), views[0].height))
    for number, view in enumerate(views):
        joined.paste(view, (number * view.width, 0))
    return joined


def gif(frames: Sequence[Image.Image], side: int = 128, milliseconds: int = 150) -> bytes:
    """An animation that begins anew after its last frame, which stays for a second and a half.

    Args:
        frames: Images of one size.
        side: They are enlarged to at least so many pixels.
        milliseconds: How long a frame stays.
    """
    views = [enlarge(frame, side) for frame in frames]
    times = [milliseconds] * (len(views) - 1) + [1500]
    buffer = io.BytesIO()
    views[0].save(buffer, "gif", save_all=True, append_images=views[1:], duration=times, loop=0)
    return buffer.getvalue()


def contact_sheet(images: Sequence[Image.Image], captions: Sequence[str], columns: int = 4) -> Image.Image:
    """Images of one size in rows, each above its caption."""
    font, margin, line = ImageFont.load_default(12), 8, 15
    width, height = images[0].size
    texts = [textwrap.wrap(caption, max(width // 6, 8)) or [""] for caption in captions]
    cell = width + margin, height + line * max(map(len, texts)) + 2 * margin
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (cell[0] * columns + margin, cell[1] * rows + margin), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (image, text) in enumerate(zip(images, texts, strict=True)):
        row, column = divmod(index, columns)
        x, y = margin + column * cell[0], margin + row * cell[1]
        sheet.paste(image, (x, y))
        draw.rectangle((x - 1, y - 1, x + width, y + height), outline="grey")
        draw.multiline_text((x, y + height + 2), "\n".join(text), fill="black", font=font, spacing=2)
    return sheet
