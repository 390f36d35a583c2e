"""Masked prediction over the ids of discrete tokens (MaskGIT, arXiv 2202.04200)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError, loss_weight
from ..layers import EPS, linear
from ..registry import OBJECTIVES
from ..structures import Drawn, Prediction, Target

if TYPE_CHECKING:
    from ..sampling import Generators


@OBJECTIVES.register_module()
class TokenCrossEntropy(nn.Module):
    """Generative objective: which of the tokenizer's codes each masked token is.

    Args:
        width: D, of the condition.
        codebook_size: K of the codes, offered by a discrete image tokenizer, as are
        embed: ids ``[...]`` to tokens ``[..., C]``, and
        snap: tokens ``[..., C]`` to ids ``[...]``.
        label_smoothing: Share of the target spread over all codes, in [0, 1).
        weight: Of this loss in the sum.

    Raises:
        UserError: The image tokenizer is continuous, or a number out of range.
    """

    needs_target_features = False
    gives_confidence = True

    def __init__(
        self,
        width: int,
        codebook_size: int | None = None,
        embed: Callable[[Tensor], Tensor] | None = None,
        snap: Callable[[Tensor], Tensor] | None = None,
        label_smoothing: float = 0.1,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        if codebook_size is None or embed is None or snap is None:
            raise UserError(
                "TokenCrossEntropy predicts ids and the image tokenizer is continuous, or groups codes (patch above "
                "1); take one whose tokens are codes, or an objective such as FlowMatching"
            )
        if not 0 <= label_smoothing < 1:
            raise UserError(f"TokenCrossEntropy label_smoothing={label_smoothing}; it must lie in [0, 1)")
        self.embed, self.snap, self.label_smoothing = embed, snap, label_smoothing
        self.weight = loss_weight("TokenCrossEntropy weight", weight)
        self.head = nn.Sequential(
            linear(width, width), nn.GELU(), nn.LayerNorm(width, eps=EPS), linear(width, codebook_size)
        )

    def forward(
        self,
        prediction: Prediction,
        target: Target,
        generator: torch.Generator | None = None,  # noqa: ARG002 - of the contract; nothing here is random
    ) -> dict[str, Tensor]:
        """The loss over the asked tokens: ``{"loss_token": ...}``.

        Args:
            prediction: Its ``condition [B, K, D]`` is read.
            target: Its ``tokens [B, K, C]``, embedded codes.
            generator: Not read.
        """
        ids = self.snap(target.tokens)
        logits = self.head(prediction.condition).float()
        loss = F.cross_entropy(logits.flatten(0, 1), ids.flatten(), label_smoothing=self.label_smoothing)
        return {"loss_token": self.weight * loss}

    def draw(
        self,
        condition: Tensor,
        random: "Generators",
        null: Tensor | None = None,
        guidance_scale: float = 1.0,
        temperature: float = 1.0,
        top_k: int | None = None,
    ) -> Drawn:
        """Draw codes, each by its chance.

        Args:
            condition: ``[B, K, D]``.
            random: Source of the draws.
            null: The condition of the null text ``[B, K, D]``; None for no guidance.
            guidance_scale: w in ``l_null + w (l_text - l_null)`` of the logits l.
            temperature: Divides the logits; 0 takes the likeliest code.
            top_k: How many of the likeliest codes may be drawn; None for all. At temperature 0 all the same.

        Returns:
            Tokens, and as confidence the log-probability of each under the guided logits.
        """
        logits = self.head(condition).float()
        if null is not None:
            logits = torch.lerp(self.head(null).float(), logits, guidance_scale)
        chances = logits.log_softmax(-1)
        uniform = random.uniform(condition.shape[1])
        ids = choose(chances, uniform, temperature, top_k) if temperature else chances.argmax(-1)
        return Drawn(self.embed(ids), chances.gather(-1, ids[..., None]).squeeze(-1))


def choose(logits: Tensor, uniform: Tensor, temperature: float = 1.0, top_k: int | None = None) -> Tensor:
    """An index ``[...]`` for each row of ``logits [..., K]``: where ``uniform [...]`` falls among their chances.

    Args:
        logits: Unnormalised log-chances.
        uniform: In [0, 1).
        temperature: Divides the logits; above 0.
        top_k: How many of the likeliest may be chosen; None for all.
    """
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    temperature = max(temperature, torch.finfo(torch.float32).tiny)  # whose inverse is still finite
    total = ((logits - logits.amax(-1, keepdim=True)) / temperature).softmax(-1).cumsum(-1)
    place = (1 - uniform[..., None]) * total[..., -1:]  # in (0, total]: never an index without a chance
    return torch.searchsorted(total, place).squeeze(-1)
