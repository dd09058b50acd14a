"""The file itself: a stored zip of which every byte stands under a hash, read without trusting anything it says."""

import hashlib
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from limbeck_runtime.errors import ArtifactError

MANIFEST = "manifest.json"
SUFFIX = ".limbeck"
SEAL = b"limbeck sha256:"
"""How the zip's comment begins; 64 hexadecimal digits follow, the hash of all bytes before the comment."""

LARGEST_BYTES = 2**31
MOST_FILES = 64
_SEAL_BYTES = len(SEAL) + 64
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(\.[a-z0-9]+)*(/[a-z0-9][a-z0-9_-]*(\.[a-z0-9]+)*)*")
_MOMENT = (1980, 1, 1, 0, 0, 0)

# What zipfile raises over archives that somebody made wrong on purpose.
_UNREADABLE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    struct.error,
    zlib.error,
    ArithmeticError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)


def sealed(files: Mapping[str, bytes]) -> bytes:
    """The bytes of an artifact that holds these files; equal files give equal bytes.

    Args:
        files: By name, `manifest.json` first.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            assert _NAME.fullmatch(name), name
            archive.writestr(zipfile.ZipInfo(name, _MOMENT), content)
        archive.comment = SEAL + b"0" * 64
    unsealed = buffer.getvalue()[:-_SEAL_BYTES]
    return unsealed + SEAL + hashlib.sha256(unsealed).hexdigest().encode()


def unsealed(path: str | Path) -> dict[str, bytes]:
    """The files in an artifact, all of them read and each one whole.

    Raises:
        ArtifactError: When there is no such file, it is none of ours, larger than `LARGEST_BYTES`, or damaged; when a
            name in it leaves the archive, is there twice, is compressed or encrypted.
    """
    content = _content(Path(path))
    if content[-_SEAL_BYTES : -_SEAL_BYTES + len(SEAL)] != SEAL:
        raise _damaged(path, "it does not end in Limbeck's seal", "a file that limbeck export wrote")
    said = content[len(content) - 64 :]
    if hashlib.sha256(content[:-_SEAL_BYTES]).hexdigest().encode() != said:
        raise _damaged(path, "its bytes do not have the hash it was written with")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _members(archive, path)
    except _UNREADABLE as error:
        raise _damaged(path, f"the archive cannot be read: {type(error).__name__} {error}") from error


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ArtifactError(f"{path} is no file", expected=f"NAME{SUFFIX}")
        if size > LARGEST_BYTES:
            raise ArtifactError(f"{path} has {size} bytes", expected=f"at most {LARGEST_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read: {error.strerror}", expected=f"a file that limbeck export wrote, NAME{SUFFIX}"
        ) from error


def _members(archive: zipfile.ZipFile, path: str | Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    members = archive.infolist()
    if len(members) > MOST_FILES:
        raise _damaged(path, f"it holds {len(members)} files", f"at most {MOST_FILES}")
    for member in members:
        name = member.filename
        if not _NAME.fullmatch(name) or name in found:
            raise _damaged(path, f"it holds a file {name!r}", "plain names, each once, that do not leave the archive")
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 0x1:
            raise _damaged(path, f"{name} is compressed or encrypted", "files stored as they are")
        if member.file_size != member.compress_size:
            raise _damaged(path, f"{name} says two sizes, {member.compress_size} and {member.file_size}")
        found[name] = archive.read(member)
    if MANIFEST not in found:
        raise _damaged(path, f"it holds no {MANIFEST}")
    return found


def _damaged(path: str | Path, problem: str, expected: str = "") -> ArtifactError:
    return ArtifactError(
        f"{path} is damaged: {problem}", expected=expected, remedy="copy it again, or export the run again"
    )
