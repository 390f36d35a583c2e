"""What a trained encoder knows of images, asked of its frozen features by simple classifiers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.sets import LabelledSet
from ..errors import UserError
from ..model import JEPAT
from ..structures import Split
from ..tokenizers.encoding import encode

BATCH = 256
SIDE = 32  # pixels of raw images
ENCODERS = ("context", "target")
PROBES = ("linear", "nearest")
Outcomes = dict[str, np.ndarray]  # by "<probe>/<label>": whether each test image that has the label is right


@torch.no_grad()
def pooled(model: JEPAT, images: Tensor, encoder: str = "target") -> np.ndarray:
    """The mean of an encoder's features over all tokens, all of them visible ``[N, D]``.

    No caption is read: where a fusion puts text into the encoder, it is the null text.

    Args:
        model: Fitted.
        images: ``[N, 3, H, W]`` in [-1, 1].
        encoder: ``context``, with the trained weights; or ``target``, with the averaged ones.
    """
    network = model.network if encoder == "context" else model.ema
    training, found, device = network.training, [], network.encoder.registers.device
    network.eval()
    for batch in images.split(BATCH):
        tokens = encode(model.image_tokenizer, batch.to(device))
        order = torch.arange(tokens.shape[1], device=tokens.device).expand(len(tokens), -1)
        found.append(network.target(tokens, Split(order, 0, tokens.shape[1])).mean(1).float().cpu())
    network.train(training)
    return torch.cat(found).numpy()


def flat(images: Tensor) -> np.ndarray:
    """Raw pixels as features ``[N, 3HW]``; sides above 32 are averaged to 32, since a classifier reads all pixels."""
    sides = tuple(min(side, SIDE) for side in images.shape[-2:])
    return F.adaptive_avg_pool2d(images, sides).flatten(1).numpy()


def probe(
    train: np.ndarray, train_labels: Mapping[str, np.ndarray], test: np.ndarray, test_labels: Mapping[str, np.ndarray]
) -> Outcomes:
    """Fit classifiers on features of some images, and try them on those of others.

    ``linear`` is a logistic regression, ``nearest`` takes the label of the nearest training image; both of features
    that are brought to mean 0 and variance 1.

    Args:
        train: ``[N, F]``.
        train_labels: As in :class:`~jepa_t.data.sets.LabelledSet`.
        test: ``[M, F]``.
        test_labels: Of the same names.

    Raises:
        UserError: A label is missing in one part, no image of one part has it, or all training images have the same.

    Examples:
        >>> features, labels = np.eye(4).repeat(2, 0), {"digit": np.arange(4).repeat(2)}
        >>> {name: right.tolist() for name, right in probe(features, labels, np.eye(4)[:2], {"digit": [0, 3]}).items()}
        {'linear/digit': [True, False], 'nearest/digit': [True, False]}
    """
    if other := train_labels.keys() ^ test_labels.keys():
        raise UserError(f"a probe can't tell the label {min(other)!r}, which one part lacks; give both the same labels")
    outcomes = {}
    for kind, classifier in _classifiers().items():
        for label, numbers in train_labels.items():
            asked = np.asarray(test_labels[label])
            if not (asked >= 0).any() or len(set(numbers[numbers >= 0].tolist())) < 2:
                raise UserError(
                    f"a probe can't tell the label {label!r}: give training two values of it, and both parts images"
                )
            fitted = classifier.fit(train[numbers >= 0], numbers[numbers >= 0])
            outcomes[f"{kind}/{label}"] = fitted.predict(test[asked >= 0]) == asked[asked >= 0]
    return outcomes


def probe_model(model: JEPAT, train: LabelledSet, test: LabelledSet, encoder: str = "target") -> Outcomes:
    """What an encoder's pooled features tell of images.

    Args:
        model: Fitted.
        train: What the classifiers are fitted on.
        test: What they are tried on.
        encoder: As in :func:`pooled`.
    """
    features = (pooled(model, part.images, encoder) for part in (train, test))
    return probe(next(features), train.labels, next(features), test.labels)


def probe_pixels(train: LabelledSet, test: LabelledSet) -> Outcomes:
    """What pixels tell of images, to compare with: raw ones, or means where a side has more than 32."""
    return probe(flat(train.images), train.labels, flat(test.images), test.labels)


def _classifiers() -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    each = LogisticRegression(max_iter=5000), KNeighborsClassifier(n_neighbors=1)
    return {name: make_pipeline(StandardScaler(), one) for name, one in zip(PROBES, each, strict=True)}
