"""The proof: what the pods run, against what the bundle holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from compass.documents import Document
from compass.errors import CompassError
from compass.names import ImageName

Verdict = Literal["equal", "different", "not running", "unknown image"]


class RunningImage(Document):
    """One container's image, as its pod says: ``image`` by name, ``digest`` from imageID (empty while it is pulled)."""

    pod: str
    container: str
    image: str
    digest: str


class Evidence(Document):
    """The verdict on one container image of one workload; ``running`` and ``expected`` are digests."""

    workload: str
    container: str
    image: str
    verdict: Verdict
    running: str = ""
    expected: str = ""
    pod: str = ""
    reason: str = ""


def running_images(pods: Sequence[dict[str, Any]]) -> list[RunningImage]:
    """Return the image of every container of the pods, init containers included."""
    found = []
    for pod in pods:
        metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
        digests = {
            x.get("name"): digest_in(str(x.get("imageID") or ""))
            for x in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
        }
        for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
            name = f"{metadata.get('namespace', '')}/{metadata['name']}"
            digest = digests.get(container["name"], "")
            found.append(RunningImage(pod=name, container=container["name"], image=container["image"], digest=digest))
    return found


def digest_in(image_id: str) -> str:
    """Return the digest in an imageID.

    Runtimes write ``registry/repository@sha256:…``, with ``docker-pullable://`` before it, or the digest alone.
    """
    at = image_id.rfind("sha256:")
    digest = image_id[at:] if at >= 0 else ""
    return digest if len(digest) == 71 else ""


def same_image(text: str, other: str) -> bool:
    """Tell whether two image names mean one image, whatever their host."""
    try:
        return ImageName.parse(text).short_path == ImageName.parse(other).short_path
    except CompassError:
        return False


def judge_workload(
    workload: str, wanted: Sequence[str], running: Sequence[RunningImage], expected: Mapping[str, frozenset[str]]
) -> list[Evidence]:
    """Return the evidence for one workload.

    ``wanted`` are the image names of its manifest, ``expected`` the digests that prove each image of the bundle, by
    repository and tag; every pod must run every wanted image with one of them.
    """
    found: list[Evidence] = []
    for image in dict.fromkeys(wanted):
        digests = expected.get(ImageName.parse(image).short_path)
        pods = [x for x in running if x.image == image]
        if digests is None:
            found.append(Evidence(workload=workload, container="", image=image, verdict="unknown image",
                                  reason="the bundle does not hold it"))  # fmt: skip
        elif not pods:
            found.append(Evidence(workload=workload, container="", image=image, verdict="not running",
                                  expected=min(digests), reason=_others(running)))  # fmt: skip
        else:
            found += [_judge_container(workload, image, x, digests) for x in pods]
    strays = [x for x in running if x.image not in wanted]
    found += [
        Evidence(workload=workload, container=x.container, image=x.image, verdict="different", running=x.digest,
                 pod=x.pod, reason="the manifest does not have this image")
        for x in strays
    ]  # fmt: skip
    return found


def _judge_container(workload: str, image: str, one: RunningImage, digests: frozenset[str]) -> Evidence:
    verdict: Verdict = "equal" if one.digest in digests else "different"
    reason = "" if one.digest else "the node has not said what it runs"
    return Evidence(workload=workload, container=one.container, image=image, verdict=verdict, running=one.digest,
                    expected=min(digests), pod=one.pod, reason=reason)  # fmt: skip


def _others(running: Sequence[RunningImage]) -> str:
    others = sorted({x.image for x in running})
    return f"running instead: {', '.join(others)}" if others else "no pod"
