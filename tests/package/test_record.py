"""`Record`: what goes in comes out, from memory and from disk, and nothing else is let in."""

import json
import math
import os
import timeit
import zipfile

import numpy as np
import pandas
import pytest

from unstuck.record import FORMAT, FORMAT_VERSION, QUANTITIES, Record

ROWS = [
    (0, "", "loss", 2.3),
    (0, "linear1", "grad_norm", 0.1),
    (0, "linear2", "grad_norm", 0.2),
    (5, "", "loss", math.nan),
    (5, "linear1", "grad_norm", math.inf),
    (5, "couche é 層 1", "dead", 0.25),
]


def same_rows(a, b):
    assert [row[:3] for row in a] == [row[:3] for row in b]
    np.testing.assert_array_equal([row[3] for row in a], [row[3] for row in b])  # NaN equals NaN here


def full_record():
    arrays = {
        (0, "linear1", "histogram"): np.arange(6).reshape(2, 3),
        (5, "層", "fired"): np.array([True, False]),
        (5, "", "empty"): np.zeros((0, 4), dtype=np.float32),
    }
    record = Record(ROWS, arrays, {"seed": 3, "unseen": ["relu"], "nested": {"a": None}})
    record.stopped = (5, "the loss is nan")
    return record


# --- in memory ---


def test_rows_come_back_in_order_with_plain_types():
    record = Record([(np.int32(7), np.str_("a"), np.str_("dead"), np.float32(0.5))])
    assert record.rows == [(7, "a", "dead", 0.5)]
    assert [type(item) for item in record.rows[0]] == [int, str, str, float]
    same_rows(Record(ROWS).rows, ROWS)
    assert len(Record(ROWS)) == 6


def test_rows_and_arguments_are_copies():
    meta, arrays = {"a": 1}, {}
    record = Record(ROWS, arrays, meta)
    record.rows.clear()
    record.meta["b"] = 2
    record.arrays[(0, "", "x")] = np.zeros(1)
    assert len(record) == 6 and meta == {"a": 1} and arrays == {}


def test_get_returns_one_series():
    steps, values = Record(ROWS).get("grad_norm", "linear1")
    np.testing.assert_array_equal(steps, [0, 5])
    np.testing.assert_array_equal(values, [0.1, math.inf])
    assert steps.dtype == np.int64 and values.dtype == np.float64


def test_get_keeps_nan_and_last_is_the_last():
    record = Record(ROWS)
    np.testing.assert_array_equal(record.get("loss")[1], [2.3, math.nan])
    assert math.isnan(record.last("loss")) and record.last("grad_norm", "linear2") == 0.2


def test_get_sees_rows_added_after_an_earlier_get():
    record = Record(ROWS)
    record.get("loss")
    record.add(6, "", "loss", 1.0)
    np.testing.assert_array_equal(record.get("loss")[0], [0, 5, 6])


def test_get_without_layer():
    record = Record(ROWS)
    np.testing.assert_array_equal(record.get("dead")[1], [0.25])  # the only layer
    with pytest.raises(ValueError, match=r"layer: 'grad_norm' .* \['linear1', 'linear2'\]"):
        record.get("grad_norm")
    record.add(9, "", "grad_norm", 7.0)  # now there is the whole network's
    np.testing.assert_array_equal(record.get("grad_norm")[1], [7.0])


def test_get_what_is_not_there():
    record = Record(ROWS)
    with pytest.raises(ValueError, match=r"quantity: 'act_std' was not recorded; there are \['loss'"):
        record.get("act_std")
    with pytest.raises(ValueError, match=r"layer: 'loss' was not recorded for 'linear1'; there are \[''\]"):
        record.get("loss", "linear1")
    with pytest.raises(ValueError, match="quantity"):
        record.get("loss_")


def test_layers_and_quantities_in_order_of_appearance():
    record = Record(ROWS)
    assert record.quantities() == ["loss", "grad_norm", "dead"]
    assert record.layers("grad_norm") == ["linear1", "linear2"]
    assert record.layers("act_std") == []


@pytest.mark.parametrize(
    ("row", "error", "says"),
    [
        ((0, "", "losss", 1.0), ValueError, "quantity: 'losss'"),
        ((0.5, "", "loss", 1.0), TypeError, "step"),
        (("0", "", "loss", 1.0), TypeError, "step"),
        ((0, None, "loss", 1.0), TypeError, "layer"),
        ((0, "", "loss", None), TypeError, "value"),
        ((0, "", "loss"), ValueError, "rows"),
    ],
)
def test_wrong_rows_are_refused_and_leave_nothing(row, error, says):
    record = Record()
    with pytest.raises(error, match=says):
        record.extend([row])
    assert len(record) == 0 and record.quantities() == []


def test_numbers_of_numpy_are_rows_too_and_need_not_be_finite():
    record = Record()
    for value in (np.float32(0.5), np.float64("nan"), np.float32("inf"), 2):
        record.add(np.int64(3), "", "loss", value)
    steps, values = record.get("loss")
    assert steps.tolist() == [3, 3, 3, 3]
    np.testing.assert_array_equal(values, [0.5, np.nan, np.inf, 2.0])


def test_repr_tells_what_is_there():
    assert repr(Record()) == "Record(0 rows of nothing)"
    text = repr(full_record())
    assert "6 rows of loss, grad_norm, dead" in text and "stopped at step 5: the loss is nan" in text


def test_a_series_among_many_rows_is_as_quick_as_alone():
    rows = [(step, f"linear{i}", "grad_norm", 1.0) for step in range(1000) for i in range(100)]
    many, alone = Record(rows), Record(row for row in rows if row[1] == "linear7")

    def seconds(record):
        return min(timeit.repeat(lambda: record.get("grad_norm", "linear7"), number=1, repeat=7))

    assert seconds(many) < 5 * seconds(alone)  # about 1.5; a scan of all rows is 20 and more


# --- columns and pandas ---


def test_columns_round_trip():
    columns = Record(ROWS).to_columns()
    assert {name: column.dtype.kind for name, column in columns.items()} == {
        "step": "i",
        "layer": "U",
        "quantity": "U",
        "value": "f",
    }
    same_rows(Record.from_columns(columns).rows, ROWS)


def test_columns_of_nothing():
    columns = Record().to_columns()
    assert [column.shape for column in columns.values()] == [(0,)] * 4
    assert len(Record.from_columns(columns)) == 0


def test_wrong_columns_are_refused():
    columns = Record(ROWS).to_columns()
    with pytest.raises(ValueError, match=r"columns: expected equal lengths, .*'value': 5"):
        Record.from_columns(columns | {"value": columns["value"][1:]})
    del columns["layer"]
    with pytest.raises(ValueError, match=r"columns: \['layer'\] missing"):
        Record.from_columns(columns)


def test_pandas_round_trip():
    frame = Record(ROWS).to_pandas()
    assert isinstance(frame, pandas.DataFrame) and list(frame) == ["step", "layer", "quantity", "value"]
    assert frame[frame.layer == "linear2"].value.tolist() == [0.2]
    same_rows(Record.from_columns(frame).rows, ROWS)


# --- on disk ---


def test_file_round_trip(tmp_path):
    record = full_record()
    record.save(tmp_path / "run")  # the name is taken as it is
    assert os.listdir(tmp_path) == ["run"]
    back = Record.load(str(tmp_path / "run"))
    same_rows(back.rows, record.rows)
    assert back.meta == record.meta and back.stopped == (5, "the loss is nan")
    assert list(back.arrays) == list(record.arrays)
    for key, array in record.arrays.items():
        np.testing.assert_array_equal(back.arrays[key], array)
        assert back.arrays[key].dtype == array.dtype and back.arrays[key].shape == array.shape


def test_file_of_an_empty_record(tmp_path):
    Record().save(tmp_path / "empty.npz")
    back = Record.load(tmp_path / "empty.npz")
    assert (back.rows, back.arrays, back.meta, back.stopped) == ([], {}, {}, None)


def test_numpy_steps_can_be_saved(tmp_path):
    record = Record(arrays={(np.int64(3), "a", "h"): np.ones(2)})
    record.stopped = (np.int64(4), "the loss is inf")
    record.save(tmp_path / "r.npz")
    back = Record.load(tmp_path / "r.npz")
    assert back.stopped == (4, "the loss is inf") and list(back.arrays) == [(3, "a", "h")]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda record: record.meta.update(model=object()), "meta"),
        (lambda record: record.arrays.update({(0, "bad", "h"): np.array([None, {}])}), "arrays: .*'bad'"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_the_old_file_stays(tmp_path, change, says):
    path = tmp_path / "run.npz"
    record = full_record()
    record.save(path)
    before = path.read_bytes()
    change(record)
    with pytest.raises(TypeError, match=says):
        record.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["run.npz"]


def test_a_save_that_fails_half_way_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    full_record().save(path)
    before = path.read_bytes()

    def half(file, **content):
        file.write(b"PK half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez_compressed", half)
    with pytest.raises(OSError, match="no space"):
        Record(ROWS).save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["run.npz"]


def refused(path):
    with pytest.raises(ValueError, match=r"run\.npz") as caught:
        Record.load(path)
    return str(caught.value)


def test_truncated_files_are_refused_by_name(tmp_path):
    path = tmp_path / "run.npz"
    full_record().save(path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        assert "damaged" in refused(path)


def test_a_flipped_byte_is_harmless_or_refused_by_name(tmp_path):
    path = tmp_path / "run.npz"
    record = full_record()
    record.save(path)
    whole = path.read_bytes()
    refusals = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            back = Record.load(path)
        except ValueError as error:
            assert "run.npz" in str(error)
            refusals += 1
        else:
            same_rows(back.rows, record.rows)
            assert (back.meta, back.stopped) == (record.meta, record.stopped)
            assert all(np.array_equal(back.arrays[key], array) for key, array in record.arrays.items())
    assert refusals > 0.5 * len(whole) / 7  # the rest are dates and the like in the zip's directory


def with_head(path, **changes):
    full_record().save(path)
    with np.load(path) as file:
        content = dict(file)
    head = json.loads(str(content.pop("head"))) | changes
    np.savez(path, head=np.array(json.dumps(head)), **content)


def test_unknown_versions_are_refused_by_name(tmp_path):
    path = tmp_path / "run.npz"
    with_head(path, version=FORMAT_VERSION + 1)
    expected, found = refused(path).split(", found ")
    assert f"version {FORMAT_VERSION}" in expected and found == f"{FORMAT} version {FORMAT_VERSION + 1}"
    with_head(path, format="other")
    assert "found other" in refused(path)
    with_head(path)  # the way these files are made is not what is refused
    same_rows(Record.load(path).rows, ROWS)


@pytest.mark.parametrize("changes", [{"arrays": [[0, "a", "missing"]] * 9}, {"arrays": 3}, {"stopped": 3}])
def test_inconsistent_heads_are_refused_by_name(tmp_path, changes):
    path = tmp_path / "run.npz"
    with_head(path, **changes)
    assert "damaged" in refused(path)


def test_foreign_files_are_refused_by_name(tmp_path):
    path = tmp_path / "run.npz"
    np.savez(path, x=np.ones(3))
    refused(path)
    with open(path, "wb") as file:
        np.save(file, np.ones(3))
    refused(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("head.npy", "text")
    refused(path)
    path.write_text("step,layer,quantity,value\n")
    refused(path)
    full_record().save(path)
    with np.load(path) as file:
        content = dict(file)
    np.savez(path, **content | {"column_quantity": np.array(["nonsense"] * 6)})
    assert "nonsense" in refused(path)


class Bomb:
    exploded = False

    def __reduce__(self):
        return (setattr, (Bomb, "exploded", True))


def test_a_path_is_asked_for():
    with pytest.raises(TypeError, match=r"^path: expected a path, got .*3"):
        Record.load(3)


def test_pickles_are_refused_unread(tmp_path):
    path = tmp_path / "run.npz"
    full_record().save(path)
    with np.load(path) as file:
        content = dict(file)
    np.savez(path, **content | {"column_value": np.array([Bomb()] * 6)})
    refused(path)
    assert not Bomb.exploded
    np.array([Bomb()]).dump(path)
    refused(path)
    assert not Bomb.exploded


def test_missing_files_keep_their_own_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Record.load(tmp_path / "nowhere.npz")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Record().save(tmp_path / "nowhere" / "run.npz")


# --- the table of quantities ---


def test_the_contract_s_quantities_are_there():
    names = """loss accuracy test_loss test_accuracy act_mean act_std zero_fraction saturated_fraction dead
    never_fired grad_norm weight_norm update_ratio"""
    assert set(names.split()) <= set(QUANTITIES)


@pytest.mark.parametrize("name", QUANTITIES)
def test_each_quantity_is_described_and_each_band_has_a_source(name):
    quantity = QUANTITIES[name]
    assert quantity.label and quantity.unit and quantity.formula
    if quantity.healthy is not None:
        low, high = quantity.healthy
        assert low < high and quantity.source
        assert low > 0 or not quantity.log
    if quantity.unit == "fraction" and quantity.healthy:
        assert low >= 0 and high <= 1


def test_the_bands_are_those_of_their_sources():
    healthy = {name: row.healthy for name, row in QUANTITIES.items() if row.healthy}
    assert healthy["act_std"] == (0.3, 3)  # a factor of 3 (rounded) either side of 1
    assert healthy["zero_fraction"] == (0, 0.85)  # Glorot et al. 2011, figure 3
    assert healthy["dead"] == healthy["never_fired"] == (0, 0.1)  # lecture notes: 10 to 20 % are common
    assert healthy["update_ratio"] == (0.001, 0.04)  # the rule of thumb; page 11: the highest of the nine best ratios


def test_formulas_can_be_typeset():
    from matplotlib.mathtext import MathTextParser

    for quantity in QUANTITIES.values():
        MathTextParser("path").parse(quantity.formula)  # raises for what matplotlib cannot draw
