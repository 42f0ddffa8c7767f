"""Records come back as they went out, and a split leaves something to train on and to watch."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from tasks.common.records import read_records, split_validation, write_records

TEXTS = st.text(st.characters(codec="utf-8"))


@given(st.lists(st.dictionaries(TEXTS, TEXTS)))
def test_records_come_back_as_they_went_out(records):
    records += [{"x": "one\u2028two\u2029three\x85four\x1cfive\r\nsix"}]
    with TemporaryDirectory() as folder:
        path = Path(folder, "records.jsonl")
        write_records(path, records)
        assert read_records(path) == records


def test_blank_lines_are_no_records(tmp_path):
    (tmp_path / "records.jsonl").write_text('\n{"x": 1}\n \n{"x": 2}')
    assert read_records(tmp_path / "records.jsonl") == [{"x": 1}, {"x": 2}]


@given(st.lists(st.uuids().map(str), min_size=2, max_size=30, unique=True))
def test_two_records_or_more_are_on_both_sides(ids):
    train, validation = split_validation([{"id": own} for own in ids])
    assert train and validation
    assert sorted(r["id"] for r in train + validation) == sorted(ids)


def test_a_single_record_is_trained_on():
    for number in range(100):  # some of them by chance among those to hold out
        record = {"id": str(number)}
        assert split_validation([record]) == ([record], [])
    assert split_validation([]) == ([], [])
