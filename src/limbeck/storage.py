"""Writing to disk so that neither a kill, nor a full disk, nor a second writer leaves a torn file or a torn folder."""

import errno
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from limbeck.errors import FolderInUse, StorageError

LOCK = "lock"
PARTIAL = ".partial"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that after a kill or a power cut is either the old one or the new one, whole; its folder is made.

    Raises:
        StorageError: When the disk is full or cannot be written; the old file is untouched.
    """
    with _replacing(path, len(content)) as temporary:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all; as `write_whole`."""
    write_whole(path, text.encode())


def copy_whole(source: Path, path: Path) -> None:
    """Copies a file so that after a kill the copy is there whole or not at all.

    Raises:
        StorageError: When the disk is full or cannot be written.
    """
    with _replacing(path, source.stat().st_size) as temporary:
        shutil.copyfile(source, temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())


@contextmanager
def guarded(path: Path, size: int = 0) -> Iterator[None]:
    """Turns what the operating system says about writing `path` into an error a person can act on.

    Args:
        path: What is written.
        size: How much is to be written, in bytes; 0 where that is little or not known.

    Raises:
        StorageError: When the disk is full or cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise _storage_error(error, path, size) from error


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
def sole_writer(folder: Path, lock: str = LOCK, what: str = "") -> Iterator[None]:
    """Holds a folder, or a part of it, for one writer; the system lets go when the process ends, however it ends.

    The folder is made where it is missing, and what was made for it is gone again where nothing was written.

    Args:
        folder: It, or what lies in it, is held.
        lock: The name of the file that is locked; a part of the folder has one of its own.
        what: What the message calls that part; the whole folder when left out.

    Raises:
        FolderInUse: When another process, which the message names, or another thread is writing there.
        StorageError: When the folder cannot be made.
    """
    with guarded(folder):
        descriptor, made = _lock(folder, lock, what or str(folder))
    try:
        yield
    finally:
        # Windows removes no file that is open; there the next writer finds it and takes it over.
        with suppress(PermissionError):
            (folder / lock).unlink(missing_ok=True)
        os.close(descriptor)
        with suppress(OSError):  # the first that is not empty
            for place in made:
                place.rmdir()


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that is appended to; a last one that was torn is cut off. None where there is no file.

    Raises:
        StorageError: When it cannot be read or cut.
    """
    if not path.is_file():
        return []
    with guarded(path), open(path, "rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        file.truncate(whole)
    return content[:whole].splitlines()


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Appends lines to a file, which is made where it is missing, and forces them to the disk.

    Raises:
        StorageError: When the disk is full or cannot be written.
    """
    if lines:
        content = "".join(f"{line}\n" for line in lines).encode()
        with guarded(path, len(content)), open(path, "ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def leftover(path: Path) -> bool:
    """Whether a file is what a killed writer may leave: its lock, or a file that did not become whole."""
    return path.name == LOCK or path.name.endswith(PARTIAL)


@contextmanager
def _replacing(path: Path, size: int) -> Iterator[Path]:
    """A temporary path that becomes `path` when the block has written it; removed when the block ends badly."""
    temporary = path.with_name(path.name + PARTIAL)
    with guarded(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        except BaseException:
            # The room it took is what the person is about to need.
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def _storage_error(error: OSError, path: Path, size: int) -> StorageError:
    kept = "run the same command again, a run with --resume: what was finished is kept"
    if error.errno not in _FULL:
        said = error.strerror or str(error)
        return StorageError(f"{path} cannot be written: {said}", remedy=f"check the folder, then {kept}")
    return StorageError(
        f"the disk is full: {path.name} could not be written to {path.parent} ({error.strerror})",
        expected=f"room for {_megabytes(size)}; {_megabytes(_free(path.parent))} are free there",
        remedy=f"make room, then {kept}",
    )


def _lock(folder: Path, lock: str, what: str) -> tuple[int, list[Path]]:
    """An open file that is locked, and the folders that were made for it, the innermost first."""
    path = folder / lock
    while True:
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            continue  # the writer before us has just removed the folder, which it had made for nothing
        if not _held_by_us(descriptor):
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            who = "thread of this process" if holder == str(os.getpid()) else "process"
            raise FolderInUse(
                f"{what} is being written by another {who} (process {holder})",
                expected="one writer at a time",
                remedy="wait until it has finished, or give another folder",
            )
        # The holder before us may have removed the file between our opening and our locking it.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                break
        os.close(descriptor)
    with suppress(OSError):  # a disk too full for a number is held all the same
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor, made


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
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
