"""A backup's objects, made to live on a simulated cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compass.documents import load_yaml, read_text
from compass.errors import InvalidInput
from compass.names import ImageName
from rehearsal.example.images import push, small_image

Json = dict[str, Any]
_OF_THE_SERVER = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "ownerReferences",
)


def restored_objects(folder: Path, registry: str, registry_url: str) -> Iterator[Json]:
    """Yield each object of a backup without what its old server gave it; its images are small ones at ``registry``.

    Raises:
        InvalidInput: the folder is no backup, or a file in it is damaged.
    """
    try:
        index = json.loads(read_text(folder / "index.json", "backup"))
        files = [str(x["file"]) for x in index["files"]]
    except (ValueError, TypeError, KeyError):
        raise InvalidInput("read backup", folder / "index.json", found="damaged", expected="an index") from None
    pushed: set[str] = set()
    for file in files:
        item = load_yaml(read_text(folder / file, "backup"), str(folder / file))
        for key in _OF_THE_SERVER:
            item["metadata"].pop(key, None)
        item.pop("status", None)
        _move_images(item, registry, registry_url, pushed)
        yield item


def _move_images(value: Any, registry: str, registry_url: str, pushed: set[str]) -> None:
    """Let every container ask the simulated registry, which gets a small image of that name."""
    if isinstance(value, list):
        for item in value:
            _move_images(item, registry, registry_url, pushed)
    if not isinstance(value, dict):
        return
    image = value.get("image")
    if isinstance(image, str) and "name" in value:
        name = ImageName.parse(image)
        path = f"{name.repository}:{name.tag or 'latest'}"
        if path not in pushed:
            push(registry_url, small_image(path))
            pushed.add(path)
        value["image"] = f"{registry}/{path}"
    for item in value.values():
        _move_images(item, registry, registry_url, pushed)
