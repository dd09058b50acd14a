"""The artifact as a file: what was written is read, and what was changed is refused, bit by bit and on purpose."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_artifacts
from hypothesis import given, settings
from hypothesis import strategies as st
from small_artifacts import resealed

from limbeck_runtime import ArtifactError, load
from limbeck_runtime.container import LARGEST_BYTES, MANIFEST, SEAL, sealed, unsealed

onnx = pytest.importorskip("onnx")

names = st.from_regex(r"[a-z][a-z0-9_-]{0,8}(\.[a-z]{1,4})?(/[a-z]{1,8})?", fullmatch=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return small_artifacts.made(tmp_path_factory.mktemp("whole")).read_bytes()


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(names, st.binary(max_size=200), max_size=5))
def test_what_was_sealed_is_read(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    path = tmp_path_factory.mktemp("sealed") / "a.limbeck"
    files = {MANIFEST: b"{}", **files}
    path.write_bytes(sealed(files))
    assert unsealed(path) == files
    assert sealed(files) == path.read_bytes()


def test_it_is_a_zip_that_others_read(whole: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.namelist()[0] == MANIFEST


def test_every_flipped_bit_is_refused(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "a.limbeck"
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="damaged"):
            unsealed(path)


def test_every_cut_is_refused(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "a.limbeck"
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(ArtifactError, match="damaged"):
            unsealed(path)


def test_no_file_and_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        load(tmp_path / "none.limbeck")
    with pytest.raises(ArtifactError, match="no file"):
        load(tmp_path)
    (tmp_path / "text.limbeck").write_text("a text")
    with pytest.raises(ArtifactError, match="seal"):
        load(tmp_path / "text.limbeck")


def test_a_file_larger_than_any_artifact_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.limbeck"
    with open(path, "wb") as file:
        file.truncate(LARGEST_BYTES + 1)
    with pytest.raises(ArtifactError, match="at most"):
        unsealed(path)


def crafted(path: Path, build: Callable[[zipfile.ZipFile], None]) -> Path:
    """A zip with a right seal and whatever `build` puts into it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        build(archive)
        archive.comment = SEAL + b"0" * 64
    path.write_bytes(resealed(buffer.getvalue()))
    return path


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../b", "A", "a\\b", "", ".hidden", "a//b", "a/"])
def test_a_name_that_leaves_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    path = crafted(tmp_path / "a.limbeck", lambda archive: archive.writestr(zipfile.ZipInfo(name), b"x"))
    with pytest.raises(ArtifactError, match="plain names"):
        unsealed(path)


def test_a_size_bomb_is_refused_unopened(tmp_path: Path) -> None:
    def bomb(archive: zipfile.ZipFile) -> None:
        archive.writestr(zipfile.ZipInfo("bomb"), bytes(50_000_000), zipfile.ZIP_DEFLATED)

    path = crafted(tmp_path / "a.limbeck", bomb)
    assert path.stat().st_size < 100_000
    with pytest.raises(ArtifactError, match="compressed"):
        unsealed(path)


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    def many(archive: zipfile.ZipFile) -> None:
        for number in range(70):
            archive.writestr(f"n{number}", b"")

    with pytest.raises(ArtifactError, match="70 files"):
        unsealed(crafted(tmp_path / "a.limbeck", many))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    def twice(archive: zipfile.ZipFile) -> None:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")

    with pytest.raises(ArtifactError, match="each once"):
        unsealed(crafted(tmp_path / "a.limbeck", twice))


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None], **hashes: bool) -> Path:
    """An artifact whose manifest and files were changed, hashed and sealed anew."""
    small_artifacts.rewrite(path, change, **hashes)
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda said, files: said.update(schema=99), "schema 99[\\s\\S]*upgrade limbeck-runtime"),
        (lambda said, files: said.update(schema=True), "schema True"),
        (lambda said, files: said.update(format="other"), "not Limbeck's"),
        (lambda said, files: said.update(surprise=1), "field 'surprise'"),
        (lambda said, files: said.pop("graph"), "no 'graph'"),
        (lambda said, files: said["graph"].update(file="../x"), "missing"),
        (lambda said, files: said["graph"].update(batch=0), "0 rows at a time"),
        (lambda said, files: said["input"].update(shape=[9]), "golden rows have another shape"),
        (lambda said, files: said["input"].update(dtype="object"), "numbers of type object"),
        (lambda said, files: said["golden"].update(tolerance=float("nan")), "is nan"),
        (lambda said, files: said["golden"].update(tolerance=-1.0), "tolerance of -1"),
        (lambda said, files: said["output"].update(reading={"kind": "spell", "names": []}), "kind 'spell'"),
        (lambda said, files: said["output"]["reading"].update(names=["c", "b", "a"]), "read otherwise"),
        (lambda said, files: said["output"]["reading"].update(names=["a", "b"]), "2 numbers to read"),
        (lambda said, files: files.update(more=b"x"), "more is not in the manifest"),
        (lambda said, files: files.pop("golden/inputs.bin"), "missing"),
        (lambda said, files: files.update({"golden/inputs.bin": b"1234"}), "does not hold"),
        (lambda said, files: files.update({"model.onnx": b"\x08\x0a"}), "refuses the graph"),
        (lambda said, files: files.update({"model.onnx": b"\xff" * 40}), "damaged"),
    ],
)
def test_a_manifest_that_does_not_hold_is_refused(tmp_path: Path, change: Any, says: str) -> None:
    path = small_artifacts.made(tmp_path)
    with pytest.raises(ArtifactError, match=says):
        load(rewritten(path, change))


def test_a_manifest_that_is_no_json_is_refused(tmp_path: Path) -> None:
    path = small_artifacts.made(tmp_path)
    files = unsealed(path)
    for text in (b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b'"a"'):
        path.write_bytes(sealed({**files, MANIFEST: text}))
        with pytest.raises(ArtifactError, match="manifest"):
            load(path)


def test_a_file_whose_hash_the_manifest_does_not_have_is_refused(tmp_path: Path) -> None:
    path = small_artifacts.made(tmp_path)

    def other(said: dict[str, Any], files: dict[str, bytes]) -> None:
        files["model.onnx"] = files["model.onnx"][:-1] + b"x"

    with pytest.raises(ArtifactError, match=r"model\.onnx is damaged"):
        load(rewritten(path, other, hashes=False))


def test_other_weights_under_right_hashes_are_refused(tmp_path: Path) -> None:
    path = small_artifacts.made(tmp_path)
    other = small_artifacts.linear(tmp_path, seed=5)
    with pytest.raises(ArtifactError, match="away from what it answered"):
        load(rewritten(path, lambda said, files: files.update({"model.onnx": other})))
    assert load(path, check=False).outputs([[0.0] * 8]).shape == (1, 3)


def external(content: bytes, place: str) -> bytes:
    """A graph that reads a tensor, or a tensor in an attribute, from a file beside it."""
    model = onnx.load_from_string(content)
    tensor = onnx.TensorProto()
    tensor.name, tensor.data_type = "e", onnx.TensorProto.FLOAT
    tensor.dims.append(1)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    if place == "initializer":
        model.graph.initializer.append(tensor)
    elif place == "attribute":
        model.graph.node.append(onnx.helper.make_node("Constant", [], ["k"], value=tensor))
    else:
        inner = onnx.helper.make_graph([], "inner", [], [], [tensor])
        node = onnx.helper.make_node("If", ["x"], ["k"], then_branch=inner, else_branch=inner)
        model.graph.node.append(node)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("place", ["initializer", "attribute", "branch"])
def test_weights_outside_of_the_artifact_are_refused(tmp_path: Path, place: str) -> None:
    path = small_artifacts.made(tmp_path)
    content = external(unsealed(path)["model.onnx"], place)
    with pytest.raises(ArtifactError, match="outside of the artifact"):
        load(rewritten(path, lambda said, files: files.update({"model.onnx": content})))


def test_equal_manifests_give_equal_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first, second = (small_artifacts.made(tmp_path / name).read_bytes() for name in ("one", "two"))
    assert first == second
    assert json.loads(unsealed(tmp_path / "one" / "small.limbeck")[MANIFEST])["schema"] == 1
