"""Masked prediction over the ids of discrete tokens (MaskGIT, arXiv 2202.04200)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import GenerativeObjective, RandomSource
from ..errors import UserError, check_integer, loss_weight
from ..layers import EPS, linear
from ..registry import OBJECTIVES
from ..structures import Drawn, Prediction, Target


@OBJECTIVES.register_module()
class TokenCrossEntropy(GenerativeObjective):
    """Generative objective: which of the tokenizer's codes each masked token is.

    Args:
        width: D, of the condition.
        codebook_size: How many codes there are, offered by a discrete image tokenizer whose tokens are one code each.
        label_smoothing: Share of the target spread over all codes, in [0, 1).
        weight: Of this loss in the sum.

    Raises:
        UserError: The image tokenizer is continuous, or a number out of range.

    Examples:
        >>> z, ids = torch.randn(2, 3, 16), torch.tensor([[0, 9, 4], [1, 1, 2]])
        >>> list(TokenCrossEntropy(16, codebook_size=10)(Prediction(z, z), Target(torch.zeros(2, 3, 4), ids=ids)))
        ['loss_token']
    """

    reads = frozenset({"ids"})
    gives_confidence = True

    def __init__(
        self,
        width: int,
        codebook_size: int | None = None,
        label_smoothing: float = 0.1,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        if codebook_size is None:
            raise UserError(
                "TokenCrossEntropy predicts ids and the image tokenizer is continuous, or groups codes (patch above "
                "1); take one whose tokens are codes, or an objective such as FlowMatching"
            )
        if not 0 <= label_smoothing < 1:
            raise UserError(f"TokenCrossEntropy label_smoothing={label_smoothing}; it must lie in [0, 1)")
        self.label_smoothing = label_smoothing
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
            target: Its ``ids [B, K]``.
            generator: Not read.
        """
        assert target.ids is not None, "the model gives what an objective reads"
        logits = self.head(prediction.condition).float()
        loss = F.cross_entropy(logits.flatten(0, 1), target.ids.flatten(), label_smoothing=self.label_smoothing)
        return {"loss_token": self.weight * loss}

    def draw(
        self,
        condition: Tensor,
        random: RandomSource,
        null: Tensor | None = None,
        guidance_scale: float = 1.0,
        temperature: float = 1.0,
        progress: float = 0.0,  # noqa: ARG002 - of the contract; nothing here changes over the steps
        *,
        top_k: int | None = None,
    ) -> Drawn:
        """Draw codes, each by its chance.

        Args:
            condition: ``[B, K, D]``.
            random: Source of the draws.
            null: The condition of the null text ``[B, K, D]``; None for no guidance.
            guidance_scale: w in ``l_null + w (l_text - l_null)`` of the logits l.
            temperature: Divides the logits; 0 takes the likeliest code.
            progress: Not read.
            top_k: How many of the likeliest codes may be drawn; None for all. At temperature 0 all the same.

        Returns:
            Ids, and as confidence the log-probability of each under the guided logits.

        Raises:
            UserError: ``top_k`` is no whole number of at least 1.
        """
        if top_k is not None:
            check_integer("sampler.draw.top_k", top_k)
        logits = self.head(condition).float()
        if null is not None:
            logits = torch.lerp(self.head(null).float(), logits, guidance_scale)
        chances = logits.log_softmax(-1)
        uniform = random.uniform(condition.shape[1])
        ids = choose(chances, uniform, temperature, top_k) if temperature else chances.argmax(-1)
        return Drawn(ids=ids, confidence=chances.gather(-1, ids[..., None]).squeeze(-1))


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
    return torch.searchsorted(total, place).squeeze(-1).clamp(max=logits.shape[-1] - 1)  # NaN lies behind all
