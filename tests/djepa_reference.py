"""D-JEPA and the public JEPA-T network from their description: random weights under their names, what they compute.

Written plainly and otherwise than the library: full attention over boolean masks, all tokens in place.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class SelfAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.q_norm, self.k_norm = (nn.RMSNorm(width // heads, eps=1e-6) for _ in range(2))

    def forward(self, x):
        batch, count, width = x.shape
        q, k, v = self.qkv(x).view(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, count, width))


class FeedForward(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class TransformerBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.attn, self.mlp = SelfAttention(width, heads), FeedForward(width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def modulation(width, parts):
    return nn.Sequential(nn.SiLU(), nn.Linear(width, parts * width))


class ResidualLayer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.in_ln = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.adaLN_modulation = modulation(width, 3)

    def forward(self, x, c):
        width = x.shape[-1]
        parts = self.adaLN_modulation(c)
        shift, scale, gate = parts[..., :width], parts[..., width : 2 * width], parts[..., 2 * width :]
        return x + gate * self.mlp(self.in_ln(x) * (1 + scale) + shift)


class FinalLayer(nn.Module):
    def __init__(self, width, outputs):
        super().__init__()
        self.linear, self.adaLN_modulation = nn.Linear(width, outputs), modulation(width, 2)

    def forward(self, x, c):
        width = x.shape[-1]
        parts = self.adaLN_modulation(c)
        x = F.layer_norm(x, (width,), eps=1e-6) * (1 + parts[..., width:]) + parts[..., :width]
        return self.linear(x)


class TimeEmbedding(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t):
        angles = t[:, None].float() * torch.tensor([10000.0 ** (-i / 128) for i in range(128)])
        return self.mlp(torch.cat([torch.cos(angles), torch.sin(angles)], 1))


class HeadNet(nn.Module):
    """The denoising MLP for rows: noisy tokens ``[R, d]``, times ``[R]`` as they come, features ``[R, D]``."""

    def __init__(self, channels, condition, width, depth, outputs):
        super().__init__()
        self.time_embed = TimeEmbedding(width)
        self.cond_embed, self.input_proj = nn.Linear(condition, width), nn.Linear(channels, width)
        self.res_blocks = nn.ModuleList(ResidualLayer(width) for _ in range(depth))
        self.final_layer = FinalLayer(width, outputs)

    def forward(self, x, t, z):
        c = self.time_embed(t) + self.cond_embed(z)
        x = self.input_proj(x)
        for block in self.res_blocks:
            x = block(x, c)
        return self.final_layer(x, c)


class Loss(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net


class FeatureNet(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(hidden, eps=1e-6)

    def forward(self, z):
        return self.fc2(self.norm(F.gelu(self.fc1(z))))


class Public(nn.Module):
    """Either network.

    Args:
        classes: Of D-JEPA; 0 for JEPA-T, which reads CLIP's projected text of 512 numbers or ``text_width``.
        flow: Whether the head gives a velocity, or noise and variance.
    """

    def __init__(
        self,
        classes=5,
        text_width=512,
        width=32,
        depths=(2, 3),
        heads=4,
        tokens=4,
        channels=16,
        buffer=6,
        head=(24, 2),
        flow=False,
    ):
        super().__init__()
        self.z_proj, self.z_proj_ln = nn.Linear(channels, width), nn.LayerNorm(width, eps=1e-6)
        self.encoder_pos_embed_learned = nn.Parameter(torch.randn(1, tokens, width))
        self.buffer = nn.Parameter(torch.randn(1, buffer, width))
        self.encoder_blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(depths[0]))
        self.encoder_norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder_embed = nn.Linear(width, width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, width))
        self.decoder_pos_embed_learned = nn.Parameter(torch.randn(1, tokens, width))
        self.decoder_blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(depths[1]))
        self.decoder_norm = nn.LayerNorm(width, eps=1e-6)
        self.fake_latent = nn.Parameter(torch.randn(1, width))
        if classes:
            self.class_emb = nn.Embedding(classes, width)
        else:
            parts = nn.Linear(text_width, width), nn.LayerNorm(width, eps=1e-5), nn.GELU(), nn.Linear(width, width)
            self.class_emb = nn.Sequential(*parts)
            self.cross_attention = nn.MultiheadAttention(width, 8, batch_first=True)
            self.fuse_proj = nn.Linear(2 * width, width)
        self.diffloss = Loss(HeadNet(channels, width, *head, channels if flow else 2 * channels))
        self.jepaloss = Loss(FeatureNet(width, 4 * width))
        with torch.no_grad():  # so that norms and biases matter
            for parameter in self.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.3 * torch.randn_like(parameter))

    def features(self, latents, masked, condition):
        """The predictor's output in place ``[B, N, D]``: latents ``[B, N, d]``, masked ``[B, N]`` (equally many in each
        row), condition ``[B, D]``."""
        batch, count, _ = latents.shape
        buffer = self.buffer + condition[:, None]
        x = self.z_proj(latents) + self.encoder_pos_embed_learned
        x = self.z_proj_ln(torch.cat([buffer, x[~masked].view(batch, -1, x.shape[-1])], 1))
        for block in self.encoder_blocks:
            x = block(x)
        x = self.decoder_embed(self.encoder_norm(x))
        if hasattr(self, "fuse_proj"):
            x = x + condition[:, None]
        buffer, visible = x[:, : buffer.shape[1]], x[:, buffer.shape[1] :]
        whole = self.mask_token.repeat(batch, count, 1)
        whole[~masked] = visible.reshape(-1, whole.shape[-1])
        x = torch.cat([buffer, whole + self.decoder_pos_embed_learned], 1)
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_norm(x)[:, buffer.shape[1] :]

    def fuse(self, z, condition):
        """JEPA-T's condition of the head ``[B, N, D]``."""
        copies = condition[:, None].expand(-1, 3, -1)
        z = z + self.cross_attention(z, copies, copies, need_weights=False)[0]
        return self.fuse_proj(torch.cat([z, condition[:, None].expand_as(z)], -1))


def text_features(folder, captions):
    """CLIP's text features as it compares them with images, but for their length ``[B, F]``."""
    import open_clip

    model = open_clip.create_model(f"local-dir:{folder}").eval()
    return model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(captions))


def guidance_scales(tokens, steps, scale):
    """The linear guidance of each sampling step: of its masked tokens after it, at least one, also after the last."""
    masked, found = tokens, []
    for step in range(1, steps + 1):
        masked = max(1, min(masked - 1, int(tokens * math.cos(math.pi / 2 * step / steps))))
        found.append(1 + (scale - 1) * (tokens - masked) / tokens)
    return found


def public_file(path, *models, prefix="", **more):
    """Write a checkpoint as the public code does: ``model``, and ``model_ema`` if there is a second one."""
    states = [{prefix + name: value.clone() for name, value in model.state_dict().items()} for model in models]
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    torch.save(dict(zip(("model", "model_ema"), states, strict=False), optimizer=optimizer, epoch=3) | more, path)
    return str(path)
