"""What a restore created again, noted beside the backup from before it: restoring that one takes it away.

Such objects belong to whom they belonged before they were deleted, so nothing in the cluster tells who created them.
"""

from __future__ import annotations

import json
from pathlib import Path

from compass.errors import InvalidInput
from compass.store import write_file

NAME = "created.json"


def note_created(folder: Path, uids: list[str]) -> None:
    """Write down in a backup's folder which objects were created again since, by their uids.

    Raises:
        Refused, StepFailed: the disk says no.
    """
    write_file(folder / NAME, json.dumps(sorted(uids), indent=2).encode())


def created_since(folder: Path) -> frozenset[str]:
    """Return the uids of what was created again since a backup was made.

    Raises:
        InvalidInput: the file is there, but not as we write it.
    """
    try:
        found = json.loads((folder / NAME).read_bytes())
    except FileNotFoundError:
        return frozenset()
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(x, str) for x in found):
        raise InvalidInput("read", folder / NAME, found="no list of uids", do="remove it: what it names stays then")
    return frozenset(found)
