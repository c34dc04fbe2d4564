"""Folders of this machine that are about to be written to."""

from __future__ import annotations

import tempfile
from pathlib import Path

from storage.errors import DestinationError


def open_folder(folder: Path) -> Path:
    """Make a folder, if it is not there, and see that it takes files.

    Raises:
        DestinationError: it cannot be made, or takes none.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DestinationError(f"{folder}: the folder cannot be made ({error.strerror}); give another place") from error
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DestinationError(f"{folder}: the folder takes no file ({error.strerror}); give another place") from error
    return folder
