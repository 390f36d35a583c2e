"""Components are found by name, path, class or plug-in, and a mistake is told in one line."""

import inspect
import logging
import sys

import pytest
from mmengine.registry import Registry
from tiny import registered

from jepa_t import registry
from jepa_t.errors import UserError, check_integer, unknown
from jepa_t.registry import build, load_plugins, resolve

OWN = [registry.TOKENIZERS, registry.BACKBONES, registry.FUSIONS, registry.OBJECTIVES, registry.SAMPLERS]
THINGS = Registry("thing", scope="jepa_t_things")


@THINGS.register_module()
class Round:
    def __init__(self, width: int, colour: str = "red") -> None:
        self.width, self.colour = width, colour


@THINGS.register_module()
class Open:
    def __init__(self, **options) -> None:
        self.options = options


def test_offered_arguments_reach_those_that_name_them_and_others_are_refused():
    assert vars(build({"type": "Round"}, THINGS, width=3, other=4)) == {"width": 3, "colour": "red"}
    assert build({"type": "Round", "width": 3, "colour": "blue"}, THINGS, width=3).width == 3
    with pytest.raises(UserError, match="Round: width is 5, and 3 where it stands; leave it out"):
        build({"type": "Round", "width": 5}, THINGS, width=3)
    assert build({"type": "Open", "any": 1}, THINGS, other=4).options == {"any": 1}


def test_building_leaves_the_config_as_it_was():
    cfg = {"type": "Round", "width": 5}
    build(cfg, THINGS)
    assert cfg == {"type": "Round", "width": 5}


@pytest.mark.parametrize(
    ("cfg", "says"),
    [
        ({"type": "Ruond", "width": 1}, "unknown thing 'Ruond': did you mean 'Round'? choose from Open, Round"),
        ({"type": "Round", "width": 1, "color": "red"}, "unknown option of Round 'color': did you mean 'colour'?"),
        ({"type": "Round"}, "Round needs the option 'width'"),
        ({"width": 1}, "a component is a dict with a 'type', or an object, got {'width': 1}"),
        ("Round", "a component is a dict with a 'type', or an object, got 'Round'"),
        ({"type": "nowhere.Thing"}, "thing 'nowhere.Thing': no module 'nowhere'; put its folder on PYTHONPATH, or"),
        ({"type": "Round", "width": True}, "Round: width is True; it takes a whole number"),
        ({"type": "Round", "width": 10**20}, "Round: width is 100000000000000000000; whole numbers are below 2^63"),
        ({"type": "Round", "width": 1, "colour": ["red"]}, "Round: colour is ['red']; it takes a text"),
        ({"type": "os.system", "command": "touch made"}, "thing 'os.system': Python's own library has no component"),
        ({"type": "jepa_t.registry.partial"}, "thing 'jepa_t.registry.partial' is <class 'functools.partial'>, which"),
        ({"type": "jepa_t.errors.Thing"}, "unknown name in the module jepa_t.errors 'Thing'"),
    ],
)
def test_a_wrong_config_is_told_in_one_line(cfg, says):
    with pytest.raises(UserError) as caught:
        build(cfg, THINGS)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [ValueError, TypeError, ZeroDivisionError])
def test_what_a_component_raises_is_told_as_a_mistake_of_its_config(kind):
    def Fails(width):
        raise kind("no such width\nand more")

    with pytest.raises(UserError, match=r"^Fails: no such width \(.*test_registry.py, line \d+\)$"):
        build({"type": Fails, "width": 0}, THINGS)


@pytest.mark.parametrize(("value", "least"), [(2.0, 1), (2.5, 1), (0, 1), (-1, 0), (True, 1), ("3", 1), (None, 0)])
def test_what_is_no_whole_number_is_told(value, least):
    with pytest.raises(UserError) as caught:
        check_integer("depth", value, least)
    assert str(caught.value) == f"depth is {value!r}; it must be a whole number of at least {least}"
    assert check_integer("depth", least, least) == least


def test_a_name_like_no_other_gets_no_guess():
    assert str(unknown("site", "zzz", ["encoder", "blocks"])) == "unknown site 'zzz': choose from blocks, encoder"


def test_a_component_is_found_by_path_and_by_class():
    assert resolve("jepa_t.errors.UserError", THINGS) is UserError
    assert resolve(Round, THINGS) is Round
    assert resolve("Round", THINGS) is Round


@pytest.mark.parametrize("own", OWN, ids=lambda r: r.name)
def test_every_folder_fills_its_registry_and_takes_no_option_unseen(own):
    names = registered(own)
    assert names
    for name in names:
        kinds = {p.kind for p in inspect.signature(own.get(name)).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds, f"{name} swallows options"


def test_names_of_one_registry_are_unknown_to_another():
    assert registry.FUSIONS.get("PatchTokenizer") is None
    assert registry.MODELS.get("JEPAT").__name__ == "JEPAT"
    from mmengine.registry import MODELS

    assert MODELS.get("jepa_t.JEPAT").__name__ == "JEPAT"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Fake an installed package with one module and an entry point."""
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def fake(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[jepa_t.plugins]\nplugin_{name} = {name}\n")
        names.append(name)

    yield fake
    for name in names:
        sys.modules.pop(name, None)


def test_plugins_are_loaded_and_a_broken_one_is_named_and_skipped(install, caplog):
    install("broken_plugin", "import not_there_at_all")
    install(
        "fine_plugin", "from jepa_t.registry import FUSIONS\n@FUSIONS.register_module()\nclass Loud:\n    gain = 3\n"
    )
    with caplog.at_level(logging.WARNING, logger="jepa_t"):
        assert "plugin_fine_plugin" in load_plugins()
    for name in ("Loud", "fine_plugin.Loud"):
        assert resolve(name, registry.FUSIONS).gain == 3
    del registry.FUSIONS.module_dict["Loud"]
    assert [r.getMessage() for r in caplog.records] == [
        "plug-in plugin_broken_plugin (broken_plugin) failed: No module named 'not_there_at_all'"
    ]
