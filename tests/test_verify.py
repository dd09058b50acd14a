"""`limbeck verify` from outside: what it says of a sound recording, of each kind of damage and of an unfinished one."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_recordings import Wanted

from limbeck.cli import main
from limbeck.data.rows import TensorRows
from limbeck.errors import Interrupted

pytestmark = pytest.mark.usefixtures("one_thread")


def call(*arguments: str, code: int = 0) -> None:
    with pytest.raises(SystemExit) as left:
        main(("verify", *arguments))
    assert (left.value.code or 0) == code


@pytest.fixture(scope="module")
def sound(few: TensorRows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Wanted(few, tmp_path_factory.mktemp("sound") / "r").record()


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "r"))


def shards_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("0*.safetensors"))


def test_a_sound_recording(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = shards_of(sound)
    call(str(sound), "--json")
    answer = json.loads(capsys.readouterr().out)
    assert answer == {
        "folder": str(sound),
        "teacher": "cnn 0",
        "complete": True,
        "shards": len(shards),
        "of": len(shards),
        "good": shards,
        "rows": 200,
        "views": 2,
        "keep": "dense(precision='as said')",
        "layers": ["layer2"],
        "bytes": sum(path.stat().st_size for path in sound.glob("*.safetensors")),
        "fidelity": None,
    }
    call(str(sound))
    out, err = capsys.readouterr()
    assert f"{len(shards)} of {len(shards)} compared, each as it was written" in out
    assert f"{answer['bytes']:,} bytes" in out
    assert err == ""


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def edit(path: Path, change: Callable[[dict], object]) -> None:
    raw = json.loads((path.parent / "manifest.json").read_text())
    change(raw)
    (path.parent / "manifest.json").write_text(json.dumps(raw))


DAMAGE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "truncated": (lambda path: os.truncate(path, path.stat().st_size - 1), "is torn: it has", "delete 00002"),
    "header": (lambda path: flip(path, 12), "is damaged: its SHA-256", "delete 00002"),
    "data": (lambda path: flip(path, -1), "is damaged: its SHA-256", "delete 00002"),
    "missing": (lambda path: path.unlink(), "is missing", "record again into the same folder: only that shard"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_six_and_names_shard_and_remedy(copy: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    damage, happened, remedy = DAMAGE[how]
    shard = copy / "00002.safetensors"
    damage(shard)
    call(str(copy), "--json", code=6)
    out, err = capsys.readouterr()
    error = json.loads(out)["error"]
    assert error["kind"] == "RecordingError"
    assert error["exit_code"] == 6
    assert f"{shard} {happened}" in error["happened"]
    assert remedy in error["remedy"]
    assert error["happened"] in err
    call(str(copy), code=6)
    assert capsys.readouterr().out == ""


def test_all_damaged_shards_are_named_at_once(
    few: TensorRows, copy: Path, sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "00000.safetensors").unlink()
    flip(copy / "00001.safetensors", -1)
    os.truncate(copy / "00003.safetensors", 5)
    call(str(copy), "--json", code=6)
    error = json.loads(capsys.readouterr().out)["error"]
    for name in ("00000", "00001", "00003"):
        assert f"{name}.safetensors is " in error["happened"]
    assert "00002" not in error["happened"]
    assert error["remedy"].startswith("delete 00001.safetensors, 00003.safetensors and record again")
    for name in ("00001", "00003"):
        (copy / f"{name}.safetensors").unlink()
    Wanted(few, copy).record()
    call(str(copy))
    assert all((copy / path.name).read_bytes() == path.read_bytes() for path in sound.glob("*.safetensors"))


def test_a_manifest_from_the_future_or_of_other_columns(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(copy / "x", lambda raw: raw["columns"]["logits"].update(shape=[11]))
    call(str(copy), code=6)
    assert "is not as its manifest describes it" in capsys.readouterr().err
    edit(copy / "x", lambda raw: raw.update(schema=99))
    call(str(copy), "--json", code=6)
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["happened"].endswith("manifest.json has schema 99, from a newer Limbeck")
    assert "upgrade limbeck" in error["remedy"]


def test_an_unfinished_recording_is_checked_as_far_as_it_is(
    few: TensorRows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(done: int, total: int) -> None:
        if done >= total // 2:
            raise KeyboardInterrupt

    folder = tmp_path / "r"
    with pytest.raises(Interrupted):
        Wanted(few, folder, progress=stop).record()
    good = shards_of(folder)
    assert len(good) > 1
    call(str(folder), "--json")
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["complete"] is False
    assert answer["good"] == good
    assert answer["shards"] == len(good) < answer["of"]
    assert "is not finished" in err
    call(str(folder))
    assert f"good:      {', '.join(good)}" in capsys.readouterr().out
    (first := folder / good[0]).write_bytes(first.read_bytes()[:-1])
    call(str(folder), code=6)
    assert f"{first} is torn" in capsys.readouterr().err
    first.unlink()
    call(str(folder), "--json")
    assert json.loads(capsys.readouterr().out)["good"] == good[1:]
    Wanted(few, folder).record()
    call(str(folder))
    assert capsys.readouterr().err == ""


def test_a_folder_that_is_no_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(str(tmp_path), code=6)
    assert "is not a recording: it has no manifest.json" in capsys.readouterr().err
