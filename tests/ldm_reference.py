"""Latent diffusion's autoencoder from its description: random weights under its names, and what they compute."""

import torch
import torch.nn.functional as F

GROUPS = 32


def ldm_weights(channels=(32, 64), blocks=1, latents=4, attention=(1,), seed=0):
    """Random weights; ``attention`` names the levels of the encoder that have some."""
    random, weights = torch.Generator().manual_seed(seed), {}

    def conv(name, inputs, outputs, kernel=3):
        scale = (inputs * kernel**2) ** -0.5
        weights[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel, generator=random) * scale
        weights[f"{name}.bias"] = torch.randn(outputs, generator=random) * 0.1

    def norm(name, width):
        weights[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=random)
        weights[f"{name}.bias"] = 0.1 * torch.randn(width, generator=random)

    def resnet(name, inputs, outputs):
        norm(f"{name}.norm1", inputs)
        conv(f"{name}.conv1", inputs, outputs)
        norm(f"{name}.norm2", outputs)
        conv(f"{name}.conv2", outputs, outputs)
        if inputs != outputs:
            conv(f"{name}.nin_shortcut", inputs, outputs, 1)

    def attend(name, width):
        norm(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            conv(f"{name}.{part}", width, width, 1)

    def middle(side, width):
        resnet(f"{side}.mid.block_1", width, width)
        attend(f"{side}.mid.attn_1", width)
        resnet(f"{side}.mid.block_2", width, width)

    last, width = len(channels) - 1, channels[0]
    conv("encoder.conv_in", 3, width)
    for level, outputs in enumerate(channels):
        for block in range(blocks):
            resnet(f"encoder.down.{level}.block.{block}", width, outputs)
            width = outputs
            if level in attention:
                attend(f"encoder.down.{level}.attn.{block}", width)
        if level < last:
            conv(f"encoder.down.{level}.downsample.conv", width, width)
    middle("encoder", width)
    norm("encoder.norm_out", width)
    conv("encoder.conv_out", width, 2 * latents)
    conv("quant_conv", 2 * latents, 2 * latents, 1)
    conv("post_quant_conv", latents, latents, 1)
    conv("decoder.conv_in", latents, width)
    middle("decoder", width)
    for level in reversed(range(len(channels))):
        for block in range(blocks + 1):
            resnet(f"decoder.up.{level}.block.{block}", width, channels[level])
            width = channels[level]
        if level > 0:
            conv(f"decoder.up.{level}.upsample.conv", width, width)
    norm("decoder.norm_out", width)
    conv("decoder.conv_out", width, 3)
    return weights


class Reference:
    """The computation, by the names."""

    def __init__(self, weights):
        self.weights = weights

    def encode(self, x):
        """Images to mean and log variance of the posterior."""
        x = self._conv("encoder.conv_in", x)
        levels = self._numbers("encoder.down")
        for level in levels:
            x = self._level(f"encoder.down.{level}", x)
            if level < levels[-1]:
                x = self._conv(f"encoder.down.{level}.downsample.conv", F.pad(x, (0, 1, 0, 1)), stride=2, padding=0)
        x = self._middle("encoder", x)
        x = self._conv("encoder.conv_out", F.silu(self._norm("encoder.norm_out", x)))
        return self._conv("quant_conv", x, padding=0).chunk(2, 1)

    def decode(self, z):
        """Latents to images."""
        x = self._conv("decoder.conv_in", self._conv("post_quant_conv", z, padding=0))
        x = self._middle("decoder", x)
        for level in reversed(self._numbers("decoder.up")):
            x = self._level(f"decoder.up.{level}", x)
            if level > 0:
                x = self._conv(f"decoder.up.{level}.upsample.conv", F.interpolate(x, scale_factor=2, mode="nearest"))
        return self._conv("decoder.conv_out", F.silu(self._norm("decoder.norm_out", x)))

    def _numbers(self, prefix):
        depth = prefix.count(".") + 1
        return sorted({int(n.split(".")[depth]) for n in self.weights if n.startswith(f"{prefix}.")})

    def _conv(self, name, x, stride=1, padding=1):
        return F.conv2d(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], stride, padding)

    def _norm(self, name, x):
        return F.group_norm(x, GROUPS, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], 1e-6)

    def _level(self, name, x):
        for block in self._numbers(f"{name}.block"):
            x = self._resnet(f"{name}.block.{block}", x)
            if f"{name}.attn.{block}.q.weight" in self.weights:
                x = self._attend(f"{name}.attn.{block}", x)
        return x

    def _middle(self, side, x):
        x = self._resnet(f"{side}.mid.block_1", x)
        return self._resnet(f"{side}.mid.block_2", self._attend(f"{side}.mid.attn_1", x))

    def _resnet(self, name, x):
        y = self._conv(f"{name}.conv1", F.silu(self._norm(f"{name}.norm1", x)))
        y = self._conv(f"{name}.conv2", F.silu(self._norm(f"{name}.norm2", y)))
        if f"{name}.nin_shortcut.weight" in self.weights:
            x = self._conv(f"{name}.nin_shortcut", x, padding=0)
        return x + y

    def _attend(self, name, x):
        y = self._norm(f"{name}.norm", x)
        q, k, v = (self._conv(f"{name}.{part}", y, padding=0).flatten(2) for part in "qkv")  # [B, C, H W]
        weights = (q.transpose(1, 2) @ k * q.shape[1] ** -0.5).softmax(-1)
        y = (v @ weights.transpose(1, 2)).view(x.shape)
        return x + self._conv(f"{name}.proj_out", y, padding=0)
