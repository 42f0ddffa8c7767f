"""TensorBoard's own reader on our files."""

import pytest

from model.event_files import EventFile

event_accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="pip install tensorboard"
)


def read(folder):
    found = event_accumulator.EventAccumulator(str(folder))
    found.Reload()
    return found


def curve(folder, tag):
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


def test_curves_are_read_as_they_were_written(tmp_path):
    file = EventFile(tmp_path, 0)
    points = [(step, step * 0.5 - 1) for step in (*range(1, 300), 10**6)]
    for step, value in points:
        file.scalars(step, {"train/loss": value, "train/lr": 2.0**-step})
    file.close()
    assert curve(tmp_path, "train/loss") == points
    assert read(tmp_path).Tags()["scalars"] == ["train/loss", "train/lr"]


def test_a_resumed_run_has_every_step_once(tmp_path):
    first = EventFile(tmp_path, 0)
    for step in range(1, 9):
        first.scalars(step, {"loss": step})
    first.close()
    second = EventFile(tmp_path, 5)
    for step in range(6, 12):
        second.scalars(step, {"loss": step + 100})
    second.close()
    expected = [(s, float(s)) for s in range(1, 6)] + [(s, s + 100.0) for s in range(6, 12)]
    assert curve(tmp_path, "loss") == expected


def test_steps_that_were_taken_back_are_there_once(tmp_path):
    file = EventFile(tmp_path, 0)
    for step in range(1, 9):
        file.scalars(step, {"loss": step})
    file.void_after(5)
    for step in (6, 7):
        file.scalars(step, {"loss": step + 100})
    file.close()
    expected = [(step, float(step)) for step in range(1, 6)] + [(6, 106.0), (7, 107.0)]
    assert curve(tmp_path, "loss") == expected


def test_a_file_that_was_cut_by_a_kill_is_read_up_to_there(tmp_path):
    file = EventFile(tmp_path, 0)
    for step in range(1, 5):
        file.scalars(step, {"loss": step})
    file.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    second = EventFile(tmp_path, 2)
    second.scalars(3, {"loss": 30})
    second.close()
    assert curve(tmp_path, "loss") == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_a_run_from_the_beginning_forgets_the_one_before(tmp_path):
    for value in (1.0, 2.0):
        file = EventFile(tmp_path, 0)
        file.scalars(1, {"loss": value})
        file.close()
    assert curve(tmp_path, "loss") == [(1, 2.0)]


def test_texts_are_texts(tmp_path):
    file = EventFile(tmp_path, 0)
    file.text(7, "samples/0", "prompt:\n\n    Größe → 3")
    file.close()
    found = read(tmp_path)
    (event,) = found.Tensors("samples/0")
    assert event.step == 7
    assert event.tensor_proto.string_val[0].decode() == "prompt:\n\n    Größe → 3"
    assert found.SummaryMetadata("samples/0").plugin_data.plugin_name == "text"
