"""Samples that can't be read: replaced by seed and index, counted and named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_t.data.broken import LEAST, Tally, candidates
from jepa_t.errors import UserError


@given(st.integers(0, 3), st.integers(0, 99), st.integers(1, 50))
def test_stand_ins_depend_on_seed_and_index_alone(seed, index, count):
    first, *others = [number for number, _ in zip(candidates(seed, index, count), range(12), strict=False)]
    assert first == index % count
    assert others == [number for number, _ in zip(candidates(seed, index, count), range(12), strict=False)][1:]
    assert all(0 <= number < count for number in others)
    assert count < 20 or len(set(others)) > 3


def test_a_tally_names_each_once_and_stops_when_they_are_many(tmp_path, caplog):
    tally = Tally(tmp_path / "report", 0.1)
    tally.read = 200
    for number in range(22):  # 22 of 222 is less than a tenth
        tally.add(f"a/{number % 11}.jpg", "truncated")
    with pytest.raises(UserError, match=r"23 of 223 .* max_broken=0.1: a/0.jpg \(truncated\), a/1.jpg") as told:
        tally.add("a/0.jpg", "truncated")
    assert "\n" not in str(told.value)
    (file,) = (tmp_path / "report").iterdir()
    assert file.read_text().splitlines() == [f"a/{number}.jpg\ttruncated" for number in range(11)]
    assert len(caplog.records) == 1
    assert str(file) in caplog.text


def test_a_name_with_terminal_escapes_reaches_no_terminal_raw(tmp_path, caplog):
    tally, name = Tally(tmp_path, 0.0), "\x1b[31mred\nerror: \x9b2J{}.jpg"
    for number in range(LEAST - 1):
        tally.add(name.format(number), "truncated")
    with pytest.raises(UserError, match=r"\\x1b\[31mred\\nerror: \\x9b2J0.jpg") as told:
        tally.add(name.format(9), "truncated")
    (file,) = tmp_path.iterdir()
    assert len(file.read_text().splitlines()) == LEAST
    for said in (caplog.messages[0], str(told.value), *file.read_text().splitlines()):
        assert said.replace("\t", "").isprintable()


def test_another_tally_of_a_process_names_and_sums_up_the_same_images_once(tmp_path, caplog):
    for source in ("mine", "mine", "theirs"):
        tally = Tally(tmp_path / source, 0.5)
        tally.read = 5
        for name in ("a.jpg", "b\udcff.jpg"):
            tally.count(name, "truncated")
        tally.sum_up(source)
        assert tally.file.read_bytes() == b"a.jpg\ttruncated\nb\\udcff.jpg\ttruncated\n"
    assert [line.partition(";")[0] for line in caplog.messages] == [
        "5 of 7 images of mine are read",
        "5 of 7 images of theirs are read",
    ]


def test_a_few_broken_images_at_the_start_stop_nothing(tmp_path):
    tally = Tally(tmp_path, 0.001)
    for number in range(LEAST - 1):
        tally.add(f"{number}.jpg", "truncated")
    with pytest.raises(UserError, match="10 of 10"):
        tally.add("9.jpg", "truncated")


def test_one_broken_image_of_a_small_set_stops_no_long_training(tmp_path):
    tally = Tally(tmp_path, 0.001)
    for _ in range(100):
        tally.read += 499
        tally.add("a.jpg", "truncated")
    assert (tally.read, tally.broken) == (50_000, 100)


def test_a_report_that_cant_be_written_stops_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    Tally(tmp_path / "file" / "report", 0.1).add("a.jpg", "truncated")
    assert "a.jpg" in caplog.text
    assert "can't be written" in caplog.text
