"""Writing into a folder so that neither a kill, nor a full disk, nor a second writer leaves a torn file behind."""

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from limbeck.errors import RecordingError, StorageError

LOCK = "lock"
TEMPORARY = ".tmp"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that after a kill or a power cut is either the old one or the new one, whole.

    Raises:
        StorageError: When the disk is full or cannot be written; the old file is untouched.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        # The room it took is what the person is about to need.
        temporary.unlink(missing_ok=True)
        raise storage_error(error, path, len(content)) from error


def copy_atomically(source: Path, path: Path) -> None:
    """Copies a file so that after a kill the copy is there whole or not at all.

    Raises:
        StorageError: When the disk is full or cannot be written.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        shutil.copyfile(source, temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise storage_error(error, path, source.stat().st_size) from error


def storage_error(error: OSError, path: Path, size: int = 0) -> StorageError:
    """Says what a failed write means for the person: how much was needed, how much is free, what is kept."""
    kept = "run the same command again: what was finished is kept"
    if error.errno not in _FULL:
        return StorageError(f"{path} cannot be written: {error.strerror}", remedy=f"check the folder, then {kept}")
    return StorageError(
        f"the disk is full: {path.name} could not be written to {path.parent} ({error.strerror})",
        expected=f"room for {_megabytes(size)}; {_megabytes(_free(path.parent))} are free there",
        remedy=f"make room, then {kept}",
    )


def refuse_full_disk(folder: Path, size: int) -> None:
    """Refuses to begin what the disk has no room for.

    Args:
        folder: Where it is to be written; it exists.
        size: How much is still to be written, in bytes.

    Raises:
        StorageError: When fewer bytes are free.
    """
    free = _free(folder)
    if size > free:
        raise StorageError(
            f"the recording needs {_megabytes(size)} more in {folder}, where {_megabytes(free)} are free",
            expected="room for the whole recording before the work starts",
            remedy="make room, give another folder, or record fewer views or layers",
        )


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Holds a folder for one writer; the system lets go of it when the process ends, however it ends.

    The folder is made where it is missing.

    Raises:
        RecordingError: When another process, which the message names, or another thread is writing there.
        StorageError: When the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(folder)
    except OSError as error:
        raise storage_error(error, folder) from error
    try:
        yield
    finally:
        # Windows removes no file that is open; there the next writer finds it and takes it over.
        with suppress(PermissionError):
            (folder / LOCK).unlink(missing_ok=True)
        os.close(descriptor)


def _lock(folder: Path) -> int:
    path = folder / LOCK
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if not _held_by_us(descriptor):
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise RecordingError(
                f"{folder} is being written by another recorder (process {holder})",
                expected="one writer at a time",
                remedy="wait until it has finished, or give another folder",
            )
        # The holder before us may have removed the file between our opening and our locking it.
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            break
        os.close(descriptor)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _held_by_us(descriptor: int) -> bool:
    """Takes the lock on an open file; False when somebody else has it."""
    if sys.platform == "win32":
        import msvcrt

        try:
            # A byte beyond the text: Windows would let nobody else read a locked one.
            os.lseek(descriptor, 4096, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
