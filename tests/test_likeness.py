"""The same picture in two splits, changed as pictures get changed on their way: each way is found, and nothing else."""

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from examinations import changed, the

from limbeck.catalog.tasks import task as find_task
from limbeck.data.rows import TensorRows
from limbeck.data.source import load
from limbeck.examination import likeness
from limbeck.examination.checks import of_data
from limbeck.examination.content import contents
from limbeck.examination.likeness import Gallery, near_duplicates, pictures, twins

Image = pytest.importorskip("PIL.Image")

COCO = Path(__file__).parents[2] / "shared" / "data" / "coco128"
TASK = find_task("classification")
Picture = np.ndarray


def encoded(picture: Picture) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=50)
    return np.asarray(Image.open(file))


def resized(picture: Picture) -> Picture:
    side = Image.fromarray(picture).size
    small = Image.fromarray(picture).resize((side[0] // 2, side[1] // 2), Image.Resampling.BILINEAR)
    return np.asarray(small.resize(side, Image.Resampling.BILINEAR))


def cropped(picture: Picture) -> Picture:
    side = Image.fromarray(picture).size
    cut = Image.fromarray(picture).crop((1, 1, *side))
    return np.asarray(cut.resize(side, Image.Resampling.BILINEAR))


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "encoded": encoded,
    "resized": resized,
    "brighter": lambda picture: np.clip(picture * 0.8 + 30, 0, 255).astype(np.uint8),
    "mirrored": lambda picture: picture[:, ::-1].copy(),
    "mirrored and encoded": lambda picture: encoded(picture[:, ::-1].copy()),
    "cropped by a pixel": cropped,
    "moved by a pixel": lambda picture: np.roll(picture, 1, axis=1),
}


def rows(images: Picture, first: int = 0) -> TensorRows:
    held = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    known = torch.ones(len(held), dtype=torch.bool)
    return TensorRows(held, torch.arange(len(held)) % 2, known, torch.arange(len(held)) + first)


@pytest.fixture(scope="module")
def photos() -> Picture:
    """Pieces of 32 x 32 pixels of scikit-learn's two photographs, in an order of their own; no two overlap."""
    from sklearn.datasets import load_sample_images

    pieces = [
        image[down : down + 32, right : right + 32]
        for image in load_sample_images().images
        for down in range(0, 416, 32)
        for right in range(0, 640, 32)
    ]
    # In a piece of sky or of a blurred leaf there is nothing that another encoding would leave.
    rich = [piece for piece in pieces if piece.std() > 40]
    return np.stack(rich)[np.random.default_rng(0).permutation(len(rich))]


def found(train: Picture, judged: Picture) -> tuple[list[bool], list[int]]:
    galleries = [Gallery.of(rows(images), torch.arange(len(images))) for images in (judged, train)]
    likest = twins(*galleries)
    return likest.found.tolist(), likest.places.tolist()


def test_different_pictures_are_no_twins(photos: Picture) -> None:
    assert sum(found(photos[:120], photos[120:])[0]) == 0


def test_pictures_that_are_alike_by_nature_are_no_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits of one hand are as like as a picture and its copy; what tells them apart is how like the others are."""
    from sklearn.datasets import load_digits

    small = [Image.fromarray((image * 15.9).astype(np.uint8)) for image in load_digits().images[:1200]]
    digits = np.stack([np.asarray(image.resize((24, 24), Image.Resampling.BICUBIC)) for image in small])[..., None]
    assert sum(found(digits[:1000], digits[1000:])[0]) <= 2
    monkeypatch.setattr(likeness, "OUTSTANDING", 1.0)
    assert sum(found(digits[:1000], digits[1000:])[0]) > 100


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_found(photos: Picture, change: str) -> None:
    train, picked = photos[:120], range(0, 120, 4)
    twin, places = found(train, np.stack([CHANGES[change](train[at]) for at in picked]))
    right = [is_one and place == at for is_one, place, at in zip(twin, places, picked, strict=True)]
    assert np.mean(right) >= 0.85 and sum(twin) == sum(right)


def test_correlation_is_that_of_the_best_of_nine_places() -> None:
    draw = np.random.default_rng(3)
    ours, theirs = draw.normal(size=(2, 5, 18, 20)).astype(np.float32)
    said = likeness._correlation(torch.from_numpy(ours), torch.from_numpy(theirs))
    for row in range(5):
        expected = max(
            np.corrcoef(ours[row, down : down + 16, right : right + 18].ravel(), theirs[row, 1:-1, 1:-1].ravel())[0, 1]
            for down in range(3)
            for right in range(3)
        )
        assert float(said[row]) == pytest.approx(expected, abs=1e-5)


def test_blank_pictures_and_brightness(photos: Picture) -> None:
    blank = np.full_like(photos[:3], 90)
    assert not any(found(np.concatenate([photos[:120], blank]), blank)[0])
    grey = rows(photos[:40])
    floats = TensorRows(grey.inputs.float() / 255 - 0.5, grey.labels, grey.known, grey.ids)
    whole = torch.arange(40)
    assert bool(twins(Gallery.of(floats, whole), Gallery.of(grey, whole)).found.all())


def test_equal_rows_are_left_to_their_own_check_and_large_splits_are_sampled(
    photos: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, judged = photos[:120], photos[:60].copy()
    judged[::2] = photos[60:120:2]
    judged[1::2] = np.stack([encoded(picture) for picture in photos[:30]])
    splits = {"train": rows(train), "valid": rows(photos[120:140], 500), "test": rows(judged, 900)}
    one = the(near_duplicates(splits, contents(splits)), "nearly the same pictures in training and test", "warning")
    count, whole = (int(word) for word in one.evidence.split(" test rows")[0].split(" of "))
    assert whole == 30 and 25 <= count <= 30 and "looked at" not in one.evidence
    monkeypatch.setattr(likeness, "JUDGED", 20)
    monkeypatch.setattr(likeness, "COMPARED", 100)
    one = the(near_duplicates(splits, contents(splits)), "nearly the same pictures in training and test", "warning")
    assert one.evidence.endswith("looked at: 20 of 60 test rows and 100 of 120 training rows")


def test_what_are_pictures(photos: Picture) -> None:
    split = rows(photos[:100])
    three = {"train": split, "valid": split, "test": split}
    assert pictures(three)
    for shape in ((100, 3, 15, 40), (100, 64), (100, 3, 400), (100, 5, 40, 40), (99, 3, 40, 40)):
        strange = TensorRows.of(torch.zeros(shape))
        assert not pictures({**three, "train": strange})


# The planted mistake: test pictures that are training pictures, saved again.


def test_the_doctor_finds_pictures_that_were_saved_again(photos: Picture) -> None:
    images, labels = photos.transpose(0, 3, 1, 2), np.arange(len(photos)) % 2
    parts = {"train": slice(120), "valid": slice(120, 140), "test": slice(140, None)}
    apart = load({name: (images[part], labels[part]) for name, part in parts.items()})
    subject = "nearly the same pictures in training and test"
    said = of_data(apart, TASK, limited=False).findings
    assert not [finding for finding in said if finding.subject.startswith("nearly")]
    leaking = apart.test.inputs.clone()
    for place in range(10):
        leaking[place] = torch.from_numpy(encoded(photos[place]).transpose(2, 0, 1).copy())
    test = TensorRows(leaking, apart.test.labels, apart.test.known, apart.test.ids)
    said = of_data(changed(apart, test=test), TASK, limited=False).findings
    one = the(said, subject, "warning")
    assert f" of {len(test)} test rows" in one.evidence and "columns: {group: NAME}" in one.remedy
    # Before a run there is no time for that, and without these rows there is nothing to find.
    assert subject not in [
        finding.subject for finding in of_data(changed(apart, test=test), TASK, limited=True).findings
    ]
    kept = changed(apart, test=test.select(torch.arange(10, len(test))))
    assert of_data(kept, TASK, limited=False).findings == of_data(apart, TASK, limited=False).findings


def test_a_few_pairs_are_a_note(photos: Picture) -> None:
    for planted, severity in ((4, "note"), (5, "warning")):
        judged = np.concatenate([np.stack([resized(picture) for picture in photos[:planted]]), photos[140:]])
        splits = {"train": rows(photos[:120]), "valid": rows(photos[120:140], 500), "test": rows(judged, 900)}
        one = the(near_duplicates(splits, contents(splits)), "nearly the same pictures in training and test", severity)
        assert one.evidence.startswith(f"{planted} of {len(judged)} test rows")


@pytest.mark.skipif(not COCO.is_dir(), reason="the photographs are not on this machine")
@pytest.mark.slow
def test_street_scenes_and_kitchens() -> None:
    """128 + 128 real photographs of which no two show the same; then a tenth of them changed and planted."""

    def read(name: str) -> Picture:
        with np.load(COCO / name) as archive:
            raw, offset = archive["jpeg"].tobytes(), archive["offset"]
        files = [io.BytesIO(raw[begin:end]) for begin, end in itertools.pairwise(offset)]
        return np.stack([np.asarray(Image.open(file).convert("RGB").resize((160, 160))) for file in files])

    train, judged = read("coco128_train_320.npz"), read("coco128_val_320.npz")
    assert sum(found(train, judged)[0]) == 0
    for name, change in CHANGES.items():
        planted = np.concatenate([np.stack([change(train[at]) for at in range(0, 128, 10)]), judged])
        twin, places = found(train, planted)
        assert twin == [True] * 13 + [False] * 128, name
        assert places[:13] == list(range(0, 128, 10))
