"""The MIT-BIH Arrhythmia Database, cut into beats of the five AAMI classes, with the split between patients.

Moody and Mark, "The impact of the MIT-BIH Arrhythmia Database", IEEE Eng. in Med. and Biol., 2001,
https://doi.org/10.1109/51.932724; Goldberger et al., PhysioNet, 2000, https://doi.org/10.13026/C2F305.
The split (DS1 to learn from, DS2 to test on; paced records in neither) is that of de Chazal, O'Dwyer and Reilly,
"Automatic classification of heartbeats using ECG morphology and heartbeat interval features", IEEE Trans. Biomed. Eng.,
2004, https://doi.org/10.1109/TBME.2004.827359, table I. Read: memory. The classes are those of ANSI/AAMI EC57.

A row has shape (4, 256) in 16-bit numbers: the lead in units of the converter (1024 is 0 mV, 200 are 1 mV), 100 samples
before and 156 from the R peak on at 360 Hz; then, the same at every step, the samples from the beat before, to the beat
after, and the mean distance of the last ten beats. The premature beats (S) look like normal ones and are told by these.
"""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from limbeck.data.raw import Raw
from limbeck.errors import DataError

CLASSES = ("N", "S", "V", "F", "Q")
BEFORE, AFTER, REMEMBERED = 100, 156, 10
DS1 = (101, 106, 108, 109, 112, 114, 115, 116, 118, 119, 122, 124, 201, 203, 205, 207, 208, 209, 215, 220, 223, 230)
DS2 = (100, 103, 105, 111, 113, 117, 121, 123, 200, 202, 210, 212, 213, 214, 219, 221, 222, 228, 231, 232, 233, 234)
SYMBOLS = {
    **dict.fromkeys("NLRej", 0),
    **dict.fromkeys("AaJS", 1),
    **dict.fromkeys("VE", 2),
    "F": 3,
    **dict.fromkeys("/fQ", 4),
}
"""AAMI class of each annotation that is a beat."""

_KEYS = ("first", "delta", "label", "record", "pre_rr", "post_rr")
_LEAD = "MLII"
_RATE = 360.0

Shorts = npt.NDArray[np.int16]


def load(path: Path | None = None) -> Raw:
    """Reads the beats; groups are the records, so that a split keeps a person's beats together.

    Records 201 and 202 are of one person and lie on either side of the published split, which is kept as it is. A row
    begins with its first sample; it ends when everything in it is known, which is at the next beat's peak, or at its
    own last sample where that comes later.

    Args:
        path: The folder of the database as PhysioNet gives it (.hea, .dat, .atr; extra: ecg), or an .npz file of beats
            already cut: `first` and `delta` (a beat's first sample and the differences that follow), `label`, `record`,
            and `pre_rr`, `post_rr` (samples to the neighbouring beats, -1 where there is none); with `sample` (where
            the peak lies in its record) the rows have times.

    Raises:
        DataError: When there is no path, or what lies there cannot be read.
    """
    if path is None:
        raise DataError(
            "mit-bih needs a path",
            expected="data: {source: mit-bih, path: FOLDER}",
            remedy="physionet.org/content/mitdb",
        )
    found = _archive(path) if path.suffix == ".npz" else _database(path)
    beats, labels, records, before, after, peaks = found
    rows = _rows(beats, records, before, after)
    train, test = np.isin(records, DS1), np.isin(records, DS2)
    if not train.any() or not test.any():
        raise DataError(f"{path} holds no record of {'DS1' if test.any() else 'DS2'}", expected="the whole database")
    return Raw(
        "mit-bih",
        (rows[train], labels[train]),
        test=(rows[test], labels[test]),
        classes=CLASSES,
        origin=str(path),
        groups={"train": records[train].astype(str), "test": records[test].astype(str)},
        times={}
        if peaks is None
        else {"train": _span(peaks[train], after[train]), "test": _span(peaks[test], after[test])},
        facts={"channels": ["lead", "before", "after", "usual"], "every_seconds": 1 / 360},
    )


def _span(peaks: npt.NDArray[Any], after: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """When rows begin and end, in seconds of their record."""
    first, last = peaks - BEFORE, peaks + np.maximum(after, AFTER - 1)
    return first / _RATE, last / _RATE


def _rows(beats: Shorts, records: npt.NDArray[Any], before: npt.NDArray[Any], after: npt.NDArray[Any]) -> Shorts:
    """The lead with the beat's distances beside it; where there is no neighbour, the record's median stands."""
    rows = np.empty((len(beats), 4, BEFORE + AFTER), dtype=np.int16)
    rows[:, 0] = beats
    for record in np.unique(records):
        mine = np.flatnonzero(records == record)
        known = before[mine][before[mine] > 0]
        median = int(np.median(known)) if len(known) else 0
        past = np.where(before[mine] > 0, before[mine], median)
        summed = np.concatenate(([0], np.cumsum(past)))
        last = np.arange(1, len(mine) + 1)
        first = np.maximum(last - REMEMBERED, 0)
        usual = (summed[last] - summed[first]) / (last - first)
        rows[mine, 1] = np.clip(past, 0, 32767)[:, None]
        rows[mine, 2] = np.clip(np.where(after[mine] > 0, after[mine], median), 0, 32767)[:, None]
        rows[mine, 3] = np.clip(np.rint(usual), 0, 32767)[:, None]
    return rows


def _archive(path: Path) -> tuple[Any, ...]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in _KEYS if key not in archive]
            if missing:
                raise DataError(f"{path} holds no array {missing[0]!r}", expected=f"the arrays {', '.join(_KEYS)}")
            first, delta, labels, records, before, after = (archive[key] for key in _KEYS)
            peaks = archive["sample"].astype(np.int64) if "sample" in archive else None
    except (OSError, ValueError, BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {error}", expected="an .npz file of beats") from error
    if first.ndim != 1 or delta.shape != (len(first), BEFORE + AFTER - 1):
        raise DataError(
            f"{path} holds beats of shape {delta.shape} after their first samples",
            expected=f"(beats, {BEFORE + AFTER - 1})",
        )
    beats = np.concatenate([first[:, None].astype(np.int32), delta], axis=1).cumsum(axis=1).astype(np.int16)
    return beats, labels.astype(np.int64), records, before, after, peaks


def _database(folder: Path) -> tuple[Any, ...]:
    try:
        import wfdb
    except ModuleNotFoundError as error:
        raise DataError("wfdb is not installed", remedy="pip install 'limbeck[ecg]'") from error
    found = []
    for name in (*DS1, *DS2):
        place = folder / str(name)
        if not place.with_suffix(".hea").is_file():
            raise DataError(f"{folder} holds no record {name}", expected="the files of all 44 records, such as 100.hea")
        try:
            record = wfdb.rdrecord(str(place), physical=False)
            marks = wfdb.rdann(str(place), "atr")
        except (OSError, ValueError, IndexError) as error:
            raise DataError(f"record {name} in {folder} cannot be read: {error}") from error
        lead = record.sig_name.index(_LEAD) if _LEAD in record.sig_name else 0
        found.append(_cut(record.d_signal[:, lead], np.asarray(marks.sample), marks.symbol, name))
    beats, *rest = (np.concatenate(column) for column in zip(*found, strict=True))
    return beats.astype(np.int16), *rest


def _cut(signal: npt.NDArray[Any], samples: npt.NDArray[Any], symbols: list[str], record: int) -> tuple[Any, ...]:
    """The beats of one record that lie whole inside it."""
    classes = np.array([SYMBOLS.get(symbol, -1) for symbol in symbols])
    peaks, classes = samples[classes >= 0], classes[classes >= 0]
    distance = np.diff(peaks)
    before, after = np.concatenate(([-1], distance)), np.concatenate((distance, [-1]))
    whole = (peaks >= BEFORE) & (peaks + AFTER <= len(signal))
    at = peaks[whole][:, None] + np.arange(-BEFORE, AFTER)
    labels = classes[whole].astype(np.int64)
    return signal[at], labels, np.full(len(at), record), before[whole], after[whole], peaks[whole]
