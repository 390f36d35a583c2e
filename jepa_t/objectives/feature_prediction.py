"""Feature prediction: the joint-embedding predictive (JEPA) loss."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import Objective
from ..errors import UserError, check_integer, loss_weight, unknown
from ..layers import EPS, linear
from ..registry import OBJECTIVES
from ..structures import Prediction, Target


@OBJECTIVES.register_module()
class FeaturePrediction(Objective):
    """Predict what the target encoder says of the masked tokens: ``SmoothL1(MLP(z), G)`` (D-JEPA, equation 3).

    Args:
        width: D, channels of the network's features.
        weight: Of this loss in the sum.
        beta: Where the loss goes over from quadratic to linear.
        read: Which z: the prediction's ``condition`` (JEPA-T) or its ``features``, which the ``objective``
            fusion has not touched.
        hidden_width: Of the MLP; by default D.
        activation_first: GELU before the norm instead of after it, as in D-JEPA's public code.

    Raises:
        UserError: ``read`` is neither, ``beta`` is not above 0, or ``weight`` is below.

    Examples:
        >>> z = torch.randn(2, 3, 16)
        >>> target = Target(torch.zeros(2, 3, 4), features=torch.zeros(2, 3, 16))
        >>> list(FeaturePrediction(16)(Prediction(z, z), target))
        ['loss_feature']
    """

    reads = frozenset({"features"})

    def __init__(
        self,
        width: int,
        weight: float = 1.0,
        beta: float = 2.0,
        read: str = "condition",
        hidden_width: int | None = None,
        activation_first: bool = False,
    ) -> None:
        super().__init__()
        if read not in ("condition", "features"):
            raise unknown("FeaturePrediction read", read, ["condition", "features"])
        if not beta > 0:
            raise UserError(f"FeaturePrediction beta={beta}; it must be above 0")
        self.weight, self.beta, self.read = loss_weight("FeaturePrediction weight", weight), beta, read
        hidden = width if hidden_width is None else check_integer("FeaturePrediction hidden_width", hidden_width)
        middle: list[nn.Module] = [nn.LayerNorm(hidden, eps=EPS), nn.GELU()]
        middle = middle[::-1] if activation_first else middle
        self.mlp = nn.Sequential(linear(width, hidden), *middle, linear(hidden, width))

    def forward(
        self,
        prediction: Prediction,
        target: Target,
        generator: torch.Generator | None = None,  # noqa: ARG002 - of the contract; nothing here is random
    ) -> dict[str, Tensor]:
        """The loss over the asked tokens, ``{"loss_feature": ...}``: z ``[B, K, D]`` against ``target.features``."""
        predicted = self.mlp(prediction.condition if self.read == "condition" else prediction.features)
        assert target.features is not None, "the model gives what an objective reads"
        loss = F.smooth_l1_loss(predicted.float(), target.features.float(), beta=self.beta)
        return {"loss_feature": self.weight * loss}
