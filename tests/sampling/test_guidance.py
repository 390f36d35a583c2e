"""Laws of the guidance schedules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import registered

from jepa_t.errors import UserError
from jepa_t.registry import GUIDANCE_SCHEDULES
from jepa_t.sampling import Guidance, reveal_counts

shares = st.floats(0, 1)
schedules = pytest.mark.parametrize("schedule", registered(GUIDANCE_SCHEDULES))


def scales(guidance, tokens=256, steps=64):
    drawn, found = 0, []
    for count in reveal_counts(tokens, steps):
        found.append(guidance.at(drawn / tokens, (drawn + count) / tokens))
        drawn += count
    return found


@schedules
@given(before=shares, after=shares)
def test_a_scale_of_1_is_1_everywhere(schedule, before, after):
    assert Guidance(1.0, schedule).at(before, after) == 1.0


@schedules
@given(low=shares, high=shares, before=shares, after=shares, scale=st.floats(0, 10))
def test_outside_the_interval_there_is_no_guidance(schedule, low, high, before, after, scale):
    low, high = sorted((low, high))
    found = Guidance(scale, schedule, (low, high)).at(before, after)
    if low <= before <= high:
        assert found == Guidance(scale, schedule).at(before, after)
    else:
        assert found == 1.0


@schedules
@given(before=shares, after=shares, scale=st.floats(0, 10))
def test_the_strength_is_affine_in_the_scale(schedule, before, after, scale):
    one, two, some = (Guidance(s, schedule).at(before, after) for s in (1.0, 2.0, scale))
    assert some == pytest.approx(one + (scale - 1) * (two - one))


def test_the_linear_schedule_is_that_of_the_paper():
    """1 + (w - 1) (N - masked after the step) / N: from nearly 1 to w."""
    found = scales(Guidance(4.0, "linear"))
    masked, expected = 256, []
    for count in reveal_counts(256, 64):
        masked -= count
        expected.append(1 + 3.0 * (256 - masked) / 256)
    assert found == pytest.approx(expected)
    assert found == sorted(found)
    assert found[0] < 1.05
    assert found[-1] == 4.0


def test_the_constant_schedule_is_constant():
    assert scales(Guidance(4.0)) == [4.0] * 64


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"schedule": "liner"}, "did you mean 'linear'"),
        ({"scale": -0.1}, "sampler.guidance_scale is -0.1"),
        ({"interval": (0.5, 0.2)}, "guidance interval"),
        ({"interval": (-0.1, 0.2)}, "guidance interval"),
        ({"interval": (0.5, 1.2)}, "guidance interval"),
    ],
)
def test_a_wrong_option_is_told(options, says):
    with pytest.raises(UserError, match=says):
        Guidance(**options)
