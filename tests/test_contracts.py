"""What a component lacks of its contract is said in one line, with its name, before anything runs."""

from pathlib import Path

import pytest
import torch
from tiny import CHANNELS, GRID, TEXT_WIDTH, CodedPatches, config, make_tokenizer, random_images
from torch import nn

from jepa_t import contracts, registry
from jepa_t.backbones import ContextEncoder
from jepa_t.errors import UserError
from jepa_t.registry import BACKBONES, MODELS, TOKENIZERS, build
from jepa_t.structures import Text


class Words(contracts.TextTokenizer):
    """A text tokenizer that says neither its width nor its length."""

    def ids(self, captions):
        return torch.zeros(len(captions), 1)

    def forward(self, captions):
        return self.null(len(captions))

    def null(self, batch):
        x = torch.zeros(batch, 1, TEXT_WIDTH)
        return Text(x, torch.ones(batch, 1, dtype=torch.bool), x[:, 0])


class Codes(CodedPatches):
    def __init__(self):
        super().__init__()
        del self.codes_per_token


class Unfinished(contracts.Encoder):
    pass


class Buggy(contracts.Encoder):
    def __init__(self, width):
        super().__init__()
        self.registers = torch.zeros(width).no_such_thing

    def forward(self, tokens, positions, registers):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"encoder": {"type": "Predictor", "depth": 1, "heads": 2}}, "backbone: Predictor is no Encoder; derive it"),
        ({"predictor": {"type": "ContextEncoder", "depth": 1, "heads": 2}}, "ContextEncoder is no Predictor; derive"),
        ({"encoder": nn.Identity()}, "backbone: Identity is no Encoder; derive it from jepa_t.contracts.Encoder"),
        ({"image_tokenizer": make_tokenizer("ClassEmbedding")}, "tokenizer: ClassEmbedding is no ImageTokenizer"),
        ({"text_tokenizer": {"type": "PatchTokenizer", "size": (4, 6), "patch": 2}}, "is no TextTokenizer"),
        ({"objectives": {"flow": {"type": nn.Identity}}}, "objective: Identity is no Objective"),
        ({"sampler": nn.Identity()}, "sampler: Identity is no Sampler; derive it from jepa_t.contracts.Sampler"),
        ({"text_tokenizer": {"type": Words}}, "tokenizer: Words sets no 'width', which jepa_t.contracts.TextTokenizer"),
        ({"image_tokenizer": {"type": Codes}}, "Codes sets no 'codes_per_token', which jepa_t.contracts.Discrete"),
        ({"encoder": {"type": Unfinished}}, "Unfinished lacks forward, which its contract asks for"),
    ],
)
def test_a_component_that_keeps_not_its_contract_is_told_in_one_line(change, says):
    with pytest.raises(UserError) as caught:
        build(config(**change), MODELS)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bug_inside_a_component_is_told_with_file_and_line():
    line = Buggy.__init__.__code__.co_firstlineno + 2
    with pytest.raises(UserError, match=rf"^Buggy: .*no_such_thing.* \({__file__}, line {line}\)$"):
        build({"type": Buggy}, BACKBONES, contracts.Encoder, width=3)


def test_components_can_be_given_as_objects():
    image_tokenizer = make_tokenizer("PatchTokenizer", channels=CHANNELS)
    image_tokenizer.fit(random_images(64))
    text_tokenizer = make_tokenizer("ClassEmbedding")
    assert build(text_tokenizer, TOKENIZERS, contracts.TextTokenizer) is text_tokenizer
    encoder, predictor = (build(config()[part], BACKBONES, width=16, channels=CHANNELS, tokens=6) for part in
                          ("encoder", "predictor"))  # fmt: skip
    parts = {"image_tokenizer": image_tokenizer, "text_tokenizer": text_tokenizer}
    model = build(config(**parts, encoder=encoder, predictor=predictor), MODELS)
    assert model.image_tokenizer is image_tokenizer
    assert (model.network.encoder, model.network.predictor) == (encoder, predictor)
    assert model.ema.encoder is not encoder
    assert sum(model.loss(random_images(2), ["red", "a red three on white paper"]).values()).isfinite()
    assert model.generate(["red"], [0]).shape == (1, 3, 2 * GRID[0], 2 * GRID[1])


def test_an_installed_plug_in_is_no_library_and_one_of_a_like_name_is_not_ours():
    ours = Path(registry.__file__).parent
    files = {
        f"{registry.INSTALLED}my_plugin/gate.py": True,
        f"{ours}_plugin/gate.py": True,
        f"{ours}/model.py": False,
        f"{registry.INSTALLED}torch/nn/modules/linear.py": False,
        "<frozen importlib._bootstrap>": False,
    }
    assert {file: registry._is_foreign(file) for file in files} == files


def test_a_dotted_path_leads_through_a_lazy_package():
    assert registry.resolve("jepa_t.ContextEncoder", registry.BACKBONES) is ContextEncoder


def test_a_part_that_is_given_frozen_stays_so():
    given = make_tokenizer("TransformerText").requires_grad_(False)
    model = build(config(text_tokenizer=given), registry.MODELS)
    assert not any(parameter.requires_grad for parameter in model.network.text_tokenizer.parameters())
    assert not model.image_tokenizer.training
