"""The MIT-BIH beats, from PhysioNet's own files (written here by PhysioNet's own library) and from cut beats."""

from pathlib import Path

import numpy as np
import pytest

from limbeck.data.sets import mit_bih
from limbeck.data.source import load
from limbeck.errors import DataError

SHARED = Path(__file__).parents[2] / "shared" / "data" / "mitdb" / "mitdb_beats_256.npz"
wfdb = pytest.importorskip("wfdb", reason="needs the extra ecg")
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame")  # wfdb's own calls


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """All 44 records with twelve beats each, 300 samples apart but for one premature beat."""
    folder = tmp_path_factory.mktemp("mitdb")
    draw = np.random.default_rng(0)
    for number in (*mit_bih.DS1, *mit_bih.DS2):
        peaks = np.cumsum([50, *[300] * 5, 200, *[300] * 6])
        signal = draw.integers(900, 1200, size=(4000, 2))
        wfdb.wrsamp(
            str(number),
            fs=360,
            units=["mV", "mV"],
            sig_name=["V1", "MLII"],
            d_signal=signal,
            fmt=["212", "212"],
            adc_gain=[200, 200],
            baseline=[1024, 1024],
            write_dir=str(folder),
        )
        symbols = ["+", "N", "L", "N", "N", "A", "V", "F", "/", "N", "N", "~", "N"]
        samples = np.concatenate(([10], peaks[:-1]))
        wfdb.wrann(str(number), "atr", np.sort(samples), symbols, write_dir=str(folder))
    return folder


def test_beats_are_cut_around_the_peak_with_their_distances(database):
    raw = mit_bih.load(database)
    rows, labels = raw.train
    record = wfdb.rdrecord(str(database / "101"), physical=False)
    marks = wfdb.rdann(str(database / "101"), "atr")
    mine = raw.groups["train"] == "101"
    # The first beat begins before the record does, and "+" and "~" are no beats.
    peaks = [s for s, symbol in zip(marks.sample, marks.symbol, strict=True) if symbol in mit_bih.SYMBOLS]
    assert mine.sum() == len(peaks) - 1
    for row, peak in zip(rows[mine], peaks[1:], strict=True):
        assert np.array_equal(row[0], record.d_signal[peak - 100 : peak + 156, 1])
    before = np.diff(peaks)
    assert np.array_equal(rows[mine][:, 1, 0], before)
    assert np.array_equal(rows[mine][:-1, 2, 0], before[1:])
    assert np.array_equal(
        rows[mine][:, 3, 7], [round(before[max(0, n - 9) : n + 1].mean()) for n in range(len(before))]
    )
    kinds = [mit_bih.SYMBOLS[symbol] for symbol in marks.symbol if symbol in mit_bih.SYMBOLS]
    assert labels[mine].tolist() == kinds[1:]


def test_no_record_is_in_two_splits(database):
    data = load("mit-bih", path=database, valid=["114", "223"])
    groups = {name: set(split["groups"]) for name, split in data.description["splits"].items()}
    assert groups["valid"] == {"114", "223"}
    assert groups["test"] == set(map(str, mit_bih.DS2))
    assert groups["train"] == set(map(str, mit_bih.DS1)) - groups["valid"]


def test_a_missing_record_is_named(database, tmp_path):
    with pytest.raises(DataError, match="holds no record 101"):
        mit_bih.load(tmp_path)
    with pytest.raises(DataError, match="needs a path"):
        mit_bih.load()


def test_an_archive_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", first=np.zeros(3))
    with pytest.raises(DataError, match="holds no array 'delta'"):
        mit_bih.load(tmp_path / "x.npz")


@pytest.mark.skipif(not SHARED.is_file(), reason="the database is not on this machine")
def test_the_real_beats_are_as_many_as_published():
    """Table II of de Chazal et al. 2004 has the same counts, less a few beats too near the end of a record."""
    raw = mit_bih.load(SHARED)
    assert np.bincount(raw.train[1]).tolist() == [45846, 944, 3788, 414, 8]
    assert np.bincount(raw.test[1]).tolist() == [44239, 1837, 3220, 388, 7]
    millivolts = (raw.train[0][:, 0].astype(float) - 1024) / 200
    assert -6 < millivolts.min() and millivolts.max() < 6
