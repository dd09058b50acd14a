"""Folders of pictures, and the one decoder that training data and a picture to predict share."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_files import flowers, loaded, picture, rows_by_id

from limbeck.cli import inputs
from limbeck.data import pictures
from limbeck.data.pictures import Unfit, decoded, header
from limbeck.errors import DataError


def open_and_shut(source, **how):
    with pictures.pillow():
        return decoded(source, **{"grey": False, **how})


# folders


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_folder_for_each_class_gives_rows_and_names(kind, tmp_path):
    data = loaded(flowers(tmp_path / "flowers", kind=kind), valid=4, test=4)
    assert data.name == "flowers"
    assert data.classes == ("rose", "tulip")
    assert data.description["inputs"] == "uint8 (3, 6, 6)"
    found = rows_by_id(data)
    for place in range(24):
        path = tmp_path / "flowers" / ("rose", "tulip")[place // 12] / f"{place % 12:03d}.{kind}"
        wanted = np.asarray(Image.open(path)).transpose(2, 0, 1)
        assert found[place] == (np.ascontiguousarray(wanted).tobytes(), path.parent.name)


@pytest.mark.parametrize("valid", ["valid", "val", "validation"])
def test_folders_of_splits_are_used_and_may_lack_a_class(valid, tmp_path):
    flowers(tmp_path / "train", each=8)
    flowers(tmp_path / valid, each=3)
    flowers(tmp_path / "test", each=2)
    for path in (tmp_path / "test" / "rose").iterdir():
        path.unlink()
    (tmp_path / "test" / "rose").rmdir()
    data = loaded(tmp_path)
    assert (len(data.train), len(data.valid), len(data.test)) == (16, 6, 2)
    assert data.test.labels.tolist() == [1, 1]
    flowers(tmp_path / "more")
    with pytest.raises(DataError, match="holds splits, and beside them the folder more"):
        loaded(tmp_path)


def test_two_readings_are_equal_whatever_the_order_on_disk_and_hidden_files_are_passed_over(tmp_path):
    for folder, order in (("a", range(9)), ("b", reversed(range(9)))):
        for place in order:
            for name in ("x", "y"):
                picture(tmp_path / folder / name / "deep" / f"{place}.png", 3, 3, colour=(place, 0, 0))
    (tmp_path / "b" / "x" / ".thumb.png").write_bytes(b"no picture")
    (tmp_path / "b" / ".cache").mkdir()
    (tmp_path / "b" / "x" / "notes.txt").write_text("two")
    (tmp_path / "b" / "README").write_text("one")
    first, second = (loaded(tmp_path / folder, valid=2, test=2) for folder in "ab")
    assert first.fingerprint == second.fingerprint
    assert second.description["other_files"] == {"count": 2, "first": ["README", "x/notes.txt"]}


def test_grey_pictures_have_one_channel_unless_another_has_colour(tmp_path):
    for place in range(8):
        picture(tmp_path / "a" / f"{place}.png", 4, 4, colour=place)
        picture(tmp_path / "b" / f"{place}.png", 4, 4, colour=9)
    assert loaded(tmp_path, valid=2, test=2).description["inputs"] == "uint8 (1, 4, 4)"
    picture(tmp_path / "b" / "colour.png", 4, 4, colour=(1, 2, 3))
    assert loaded(tmp_path, valid=2, test=2).description["inputs"] == "uint8 (3, 4, 4)"


def test_pictures_of_several_sizes_need_one_and_the_most_common_is_named(tmp_path):
    flowers(tmp_path / "f", size=(6, 8))
    picture(tmp_path / "f" / "rose" / "large.png", 20, 12, colour=(1, 1, 1))
    with pytest.raises(DataError) as caught:
        loaded(tmp_path / "f")
    assert "2 sizes; the most common is 6 x 8 (height x width), of 24" in str(caught.value)
    assert "data: {size: 6}" in str(caught.value)
    data = loaded(tmp_path / "f", size=5)
    assert data.description["inputs"] == "uint8 (3, 5, 5)"
    assert data.description["resized"] == {"to": [5, 5], "from": ["6 x 8", "20 x 12"], "sizes": 2}


def test_damaged_pictures_are_counted_and_stop_above_the_share(tmp_path):
    flowers(tmp_path / "f", each=20, size=(40, 40), kind="jpg")
    (tmp_path / "f" / "rose" / "003.jpg").write_bytes(b"")
    whole = (tmp_path / "f" / "tulip" / "005.jpg").read_bytes()
    (tmp_path / "f" / "tulip" / "005.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError) as caught:
        loaded(tmp_path / "f")
    assert "2 of 40 pictures (5.00%) cannot be read:" in str(caught.value)
    assert "rose/003.jpg: is no picture" in str(caught.value)
    assert "tulip/005.jpg: is damaged" in str(caught.value)
    data = loaded(tmp_path / "f", unreadable=0.05)
    assert sum(len(rows) for rows in data.splits().values()) == 38
    assert data.description["unreadable"]["count"] == 2


def test_folders_that_are_no_data(tmp_path):
    with pytest.raises(DataError, match="holds no data that can be read"):
        loaded(tmp_path)
    picture(tmp_path / "one.png", 3, 3)
    with pytest.raises(DataError, match="holds pictures, but no folder for each class"):
        loaded(tmp_path)
    flowers(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no picture, and its name would be a class"):
        loaded(tmp_path)
    with pytest.raises(DataError, match=r"leave data.columns out"):
        loaded(tmp_path, columns={"label": "x"})
    with pytest.raises(DataError, match="task: classification"):
        loaded(tmp_path, labels="values")


# the decoder


def test_a_picture_is_turned_as_its_orientation_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = picture(tmp_path / "turned.png", 3, 5, colour=(0, 0, 9), exif=exif)
    with pictures.pillow():
        assert header(path) == (False, (5, 3))
    assert open_and_shut(path).shape == (3, 5, 3)
    assert open_and_shut(path)[0, 0, 2] == 255  # the corner that was left above is now on the right


def test_a_size_keeps_shapes_and_shows_the_middle(tmp_path):
    pixels = np.zeros((10, 30), dtype=np.uint8)
    pixels[:, :10], pixels[:, 10:20], pixels[:, 20:] = 50, 100, 150
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    found = open_and_shut(tmp_path / "wide.png", grey=True, size=(5, 5))
    assert found.shape == (1, 5, 5)
    assert set(found[:, :, 1:4].ravel().tolist()) == {100}  # at the edges the filter reaches a pixel further


def test_sixteen_bits_keep_their_upper_half_and_transparency_is_left_out(tmp_path):
    Image.fromarray(np.array([[0, 300, 65535]], dtype=np.uint16)).save(tmp_path / "deep.png")
    assert open_and_shut(tmp_path / "deep.png", grey=True).tolist() == [[[0, 1, 255]]]
    Image.fromarray(np.full((2, 2, 4), 7, np.uint8)).save(tmp_path / "clear.png")
    assert open_and_shut(tmp_path / "clear.png").tolist() == [[[7, 7], [7, 7]]] * 3


def test_bombs_and_depths_that_are_not_supported_are_unfit(tmp_path, monkeypatch):
    path = picture(tmp_path / "large.png", 50, 50)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with pytest.raises(Unfit, match="has more than 2,000 pixels"):
        open_and_shut(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Unfit, match="has more than 1,000 pixels"):
        open_and_shut(path)
    Image.fromarray(np.zeros((3, 3), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(Unfit, match="32-bit decimals"):
        open_and_shut(tmp_path / "f.tif")


def test_a_picture_to_predict_is_read_as_those_that_were_trained_on(tmp_path):
    said: list[str] = []
    path = picture(tmp_path / "f" / "a" / "wide.png", 6, 20, colour=(10, 20, 30))
    picture(tmp_path / "f" / "b" / "wide.png", 6, 20, colour=(0, 20, 30))
    for place in range(4):
        picture(tmp_path / "f" / "b" / f"{place}.png", 6, 20, colour=(0, 20, 30))
        picture(tmp_path / "f" / "a" / f"{place}.png", 6, 20, colour=(0, 20, 30))
    data = loaded(tmp_path / "f", size=4, valid=2, test=2)
    row = inputs.read(path, (3, 4, 4), said.append)
    assert row.tobytes() in {inputs for inputs, _ in rows_by_id(data).values()}
    assert said == [f"{path}: brought from 6 x 20 to 4 x 4 pixels (height x width), as the run was trained"]
    inputs.read(path, (1, 6, 20), said.append)
    assert said[1:] == [f"{path}: brought from colour to grey, as the run was trained"]
    with pytest.raises(DataError, match=r"as a .npy file"):
        inputs.read(path, (64,), said.append)
    (tmp_path / "torn.png").write_bytes(Path(path).read_bytes()[:40])
    with pytest.raises(DataError, match=r"torn.png cannot be read"):
        inputs.read(tmp_path / "torn.png", (3, 4, 4), said.append)
