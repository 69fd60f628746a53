"""The door to remote stores: a backup is copied there and read back, or fetched from there (fsspec).

Credentials come from the environment and fsspec's own configuration files; an address that carries a password is
refused, since addresses stand in logs and parameters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from compass.digests import CHUNK_BYTES
from compass.errors import CompassError, InvalidInput, StepFailed, Transient
from compass.store import folder_aside, private_folder, write_file


def is_remote(text: str) -> bool:
    """Tell whether a text is the address of a store, and no path."""
    return "://" in text or "::" in text


def copy_out(folder: Path, names: Iterable[str], store: str, name: str, last: str) -> str:
    """Copy files of a folder to ``store``/``name`` and read each back; return the address of the copy.

    ``names`` are paths inside the folder; ``last`` is written when all others are there and right, so that a copy
    without it is known to be incomplete.

    Raises:
        InvalidInput: the address has no sense, or carries a password.
        Transient, StepFailed: the store does not answer, refuses, or gives something else back.
    """
    from fsspec.implementations.local import LocalFileSystem

    files, root = _open(store)
    target = f"{root.rstrip('/')}/{name}"
    is_local = isinstance(files, LocalFileSystem)
    try:
        for each in [*(x for x in names if x != last), last]:
            path = f"{target}/{each}"
            if not is_local:
                files.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
            expected = _digest((folder / each).open("rb"))
            if is_local:  # fsspec makes folders and files that all may read
                write_file(Path(path), (folder / each).read_bytes())
            else:
                files.put_file(str(folder / each), path)
            found = _digest(files.open(path, "rb"))
            if found != expected:
                raise StepFailed("copy to", f"{store}/{name}/{each}", found=f"sha256 {found}", expected=expected)
    except CompassError:
        raise
    except Exception as error:
        raise _known("copy to", f"{store}/{name}", error) from error
    return f"{store.rstrip('/')}/{name}"


def copy_in(address: str, folder: Path, index: str) -> Path:
    """Fetch a copy into ``folder``, which appears only once all is there, and return it.

    Raises:
        InvalidInput: there is none, or it is incomplete.
        Transient, StepFailed: the store does not answer, or refuses.
    """
    files, root = _open(address)
    try:
        if not files.exists(f"{root}/{index}"):
            raise InvalidInput("fetch backup", address, found=f"no {index}", expected="a whole backup")
        with folder_aside(folder) as aside:
            for path in files.find(root):
                inside = str(path)[len(root) :].strip("/")
                if ".." in PurePosixPath(inside).parts:
                    raise InvalidInput("fetch backup", f"{address}: {inside}", expected="a path inside the backup")
                private_folder((aside / inside).parent)
                files.get_file(path, str(aside / inside))
                (aside / inside).chmod(0o600)
    except CompassError:
        raise
    except Exception as error:
        raise _known("fetch from", address, error) from error
    return folder


def check_address(address: str) -> None:
    """Check that the address of a store carries nothing secret, since it stands in logs and parameters.

    Raises:
        InvalidInput: it has a password or a query, or no path.
    """
    for each in address.split("::"):
        parts = urlsplit(each)
        secret = "a password" if parts.password else "a query" if parts.query else ""
        if secret:
            raise InvalidInput("open store", f"{parts.scheme}://***@{parts.hostname}", found=f"{secret} in its address",
                               do="give it by the environment or fsspec's configuration")  # fmt: skip
    if not parts.netloc and not parts.path.strip("/"):
        raise InvalidInput("open store", address, found="no path", expected="kind://place/folder")


def _open(address: str) -> tuple[Any, str]:
    import fsspec  # most runs have no store

    check_address(address)
    try:
        files, root = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise InvalidInput("open store", address, found=" ".join(str(error).split())) from None
    return files, str(root)


def _digest(stream: Any) -> str:
    summed = hashlib.sha256()
    with stream:
        while piece := stream.read(CHUNK_BYTES):
            summed.update(piece)
    return summed.hexdigest()


def _known(did: str, subject: str, error: Exception) -> CompassError:
    """Return what a store's error means: each kind of store has errors of its own."""
    found = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if isinstance(error, ConnectionError | TimeoutError):
        return Transient(did, subject, found=found)
    return StepFailed(did, subject, found=found)
