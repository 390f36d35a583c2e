"""What the annotations of arguments admit."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from torch import nn

from jepa_t.annotations import check_argument, fits, hints, in_words
from jepa_t.errors import UserError


@pytest.mark.parametrize(
    ("hint", "right", "wrong"),
    [
        (int, [0, -1, 2**62], [True, 1.0, "1", None]),
        (float, [0, 1.5, math.inf], [False, "1", [1.0]]),
        (bool, [True], [1, "True", None]),
        (str, ["", "é"], [1, ["a"], {}]),
        (Path, ["a", Path("a")], [1, {}]),
        (int | None, [1, None], [1.5, "None"]),
        (Literal["a", 1], ["a", 1], ["b", True, None]),
        (Sequence[str], [["a"], ("a", "b"), []], ["a", [1], [None], {"a": 1}]),
        (tuple[int, int], [(1, 2), [1, 2]], [(1,), (1, 2, 3), (1, 2.5), 1]),
        (tuple[float, ...], [(), (1, 2.5, 3)], [(1, "2")]),
        (list[dict] | dict, [{}, [{}]], [[None], "a"]),
        (Mapping[str, int], [{"a": 1}], [{"a": "b"}, {1: 1}, [("a", 1)]]),
        (nn.Module, [nn.Identity(), {"type": "Identity"}], ["Identity", 1, None]),
        (Any, [1, None, "a"], []),
        (Callable[[int], int], [abs, {"type": "abs"}], []),
    ],
    ids=str,
)
def test_what_fits(hint, right, wrong):
    assert [value for value in right if not fits(value, hint)] == []
    assert [value for value in wrong if fits(value, hint)] == []


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (int | None, "None or a whole number"),
        (Sequence[str], "a list of texts"),
        (tuple[float, float], "a list of 2 numbers"),
        (dict | list[dict], "a dict or a list of dicts"),
        (list, "a list"),
        (Literal["a", 1], "'a' or 1"),
        (nn.Module, "a dict"),
    ],
    ids=str,
)
def test_it_is_said_in_words(hint, said):
    assert in_words(hint) == said


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**20, math.nan])
def test_a_number_that_no_tensor_holds_is_refused_whatever_is_annotated(value):
    for hint in (float, Any, None):
        with pytest.raises(UserError, match="size is"):
            check_argument("size", value, hint, "Round")


def test_without_an_annotation_a_flag_stays_a_flag_and_a_number_a_number():
    class Some:
        def __init__(self, text="a", other=None, flag=True, number: int = 1, scale=1, far: "Unknown" = 2):  # noqa: F821
            """Nothing."""

    number = float | None
    assert hints(Some) == {"flag": bool, "number": int, "scale": number, "far": number}
    for scale in (0.5, 2, None):
        check_argument("scale", scale, hints(Some)["scale"], "Some")
    with pytest.raises(UserError, match="scale is 'a'; Some takes None or a number"):
        check_argument("scale", "a", hints(Some)["scale"], "Some")


def test_nothing_is_said_by_none_not_by_an_empty_text():
    check_argument("cache", None, str | None, "Some")
    check_argument("name", "", str, "Some")
    with pytest.raises(UserError, match="cache is empty; give a value, or None"):
        check_argument("cache", "", str | None, "Some")
