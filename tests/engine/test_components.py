"""A type in a config is looked up where it stands."""

import pytest
from mmengine import registry as mmengine
from mmengine.registry import Registry

from jepa_t import registry
from jepa_t.engine import load_config
from jepa_t.engine.components import component
from jepa_t.errors import UserError

PLACES = {
    registry.TOKENIZERS: ["image_tokenizer", "model.text_tokenizer", "model.tokenizer"],
    registry.BACKBONES: ["model.encoder", "model.predictor"],
    registry.FUSIONS: ["model.fusion.features"],
    registry.OBJECTIVES: ["model.objectives.flow"],
    registry.SAMPLERS: ["model.sampler"],
    registry.FEATURES: ["test_evaluator.features", "val_evaluator.1.features"],
    registry.REVEAL_ORDERS: ["model.sampler.order"],
    registry.REVEAL_SCHEDULES: ["model.sampler.schedule"],
    registry.GUIDANCE_SCHEDULES: ["model.sampler.guidance_schedule"],
    registry.SOLVERS: ["model.sampler.draw.solver"],
    registry.MASK_RATIOS: ["model.mask_ratio"],
    registry.ATTENTIONS: ["model.encoder.attention", "model.fusion.blocks.attention"],
    registry.MODELS: ["model"],
    registry.DATASETS: ["train_dataloader.dataset", "test_dataloader.dataset.dataset", "test_evaluator.0.gallery"],
    registry.DATA_SAMPLERS: ["train_dataloader.sampler"],
    registry.FUNCTIONS: ["val_dataloader.collate_fn"],
    registry.HOOKS: ["default_hooks.ema", "custom_hooks.0"],
    registry.LOOPS: ["train_cfg", "test_cfg"],
    registry.OPTIM_WRAPPERS: ["optim_wrapper"],
    registry.OPTIM_WRAPPER_CONSTRUCTORS: ["optim_wrapper.constructor"],
    registry.PARAM_SCHEDULERS: ["param_scheduler", "param_scheduler.0"],
    registry.METRICS: ["test_evaluator", "val_evaluator.0"],
    mmengine.OPTIMIZERS: ["optim_wrapper.optimizer"],
}
OURS = [found for found in vars(registry).values() if isinstance(found, Registry)]


@pytest.fixture
def named_alike():
    """A component called ``Mine`` in every registry."""
    made = {found: type("Mine", (), {}) for found in PLACES}
    for found, mine in made.items():
        found.module_dict["Mine"] = mine
    yield made
    for found in made:
        del found.module_dict["Mine"]


def test_of_components_with_one_name_that_of_the_place_is_found(named_alike):
    assert set(OURS) <= set(PLACES)
    for found, places in PLACES.items():
        for place in places:
            assert component("Mine", place) is named_alike[found], place


@pytest.mark.parametrize("found", PLACES, ids=lambda found: found.name)
def test_for_an_unknown_name_those_of_the_place_are_offered(found):
    for place in PLACES[found]:
        with pytest.raises(UserError, match=f"^{place}: unknown {found.name} 'nosuch'"):
            component("nosuch", place)


def test_a_schedule_takes_its_own_options_and_not_those_of_another_with_its_name():
    changes = ['model.sampler.guidance_schedule=dict(type="linear", most=0.5)']
    assert load_config("jepat_digits", changes).model.sampler.guidance_schedule.most == 0.5
    with pytest.raises(UserError, match=r"schedule: 'most': choose from made$"):
        load_config("jepat_digits", ['model.sampler.schedule=dict(type="linear", most=0.5)'])
