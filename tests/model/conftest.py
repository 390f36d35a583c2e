"""What a training step asks of the network."""

import pytest
from tiny import TOKENS

from jepa_t import model as module
from jepa_t.network import Network
from jepa_t.structures import Split, Target


@pytest.fixture
def observed(monkeypatch):
    """Show two tokens of each image; record the splits, texts, conditions and targets."""
    seen = {"splits": [], "texts": [], "predictions": [], "targets": []}
    draw, condition = module.draw_split, Network.condition

    def drawing(*args):
        seen["splits"].append(Split(draw(*args).order, 2, TOKENS - 2))
        return seen["splits"][-1]

    def conditioning(self, tokens, split, text, branches=1, **options):
        seen["texts"].append(text)
        seen["predictions"].append(condition(self, tokens, split, text, branches, **options))
        return seen["predictions"][-1]

    monkeypatch.setattr(module, "draw_split", drawing)
    monkeypatch.setattr(Network, "condition", conditioning)
    monkeypatch.setattr(module, "Target", lambda *args: seen["targets"].append(Target(*args)) or seen["targets"][-1])
    return seen
