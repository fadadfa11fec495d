"""Files that are either the old one or the new one, never half of each."""

import contextlib
import errno
import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` under a temporary name beside ``path``, then rename it to ``path``.

    Args:
        path: The file to create or replace.
        data: Its whole contents.

    Raises:
        OSError: If it cannot be written (disk full, say), with ``path`` named; an old file is unchanged.
    """
    if not path.name or path.is_dir():
        raise IsADirectoryError(errno.EISDIR, f"cannot write {path}: it is a folder; name a file")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # or the rename could reach the disk before the data does
        os.replace(temporary, path)
    except OSError as error:
        reason = f"cannot write {path}: {error.strerror}; what stood there before is unchanged"
        raise OSError(error.errno, reason) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
