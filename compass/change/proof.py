"""The proof: what the pods run, against what the bundle holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from compass.documents import Document
from compass.names import ImageName

OTHER_IMAGE = "another image of the same name"
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


def judge_workload(
    workload: str, wanted: Mapping[str, str], running: Sequence[RunningImage], expected: Mapping[str, frozenset[str]]
) -> list[Evidence]:
    """Return the evidence for one workload, a line per container and pod.

    ``wanted`` maps each container of its manifest to its image, ``expected`` each image of the bundle, by repository
    and tag, to the digests that prove it.  Containers that only the pods have (injected ones) are not judged.
    """
    found: list[Evidence] = []
    for container, image in wanted.items():
        digests = expected.get(ImageName.parse(image).short_path)
        mine = [x for x in running if x.container == container]
        if digests is None:
            found.append(_evidence(workload, container, image, "unknown image", reason="the bundle does not hold it"))
        elif not mine:
            found.append(_evidence(workload, container, image, "not running", expected=min(digests), reason="no pod"))
        else:
            found += [_judge_pod(workload, image, x, digests) for x in mine]
    return found


def _judge_pod(workload: str, image: str, one: RunningImage, digests: frozenset[str]) -> Evidence:
    reason = ""
    if one.image != image:
        reason = f"runs {one.image}"
    elif not one.digest:
        reason = "the node has not said what it runs"
    elif one.digest not in digests:
        reason = OTHER_IMAGE
    verdict: Verdict = "different" if reason else "equal"
    return _evidence(
        workload, one.container, image, verdict, reason=reason, running=one.digest, expected=min(digests), pod=one.pod
    )


def _evidence(
    workload: str, container: str, image: str, verdict: Verdict, *, reason: str, running: str = "", expected: str = "",
    pod: str = "",
) -> Evidence:  # fmt: skip
    return Evidence(workload=workload, container=container, image=image, verdict=verdict, reason=reason,
                    running=running, expected=expected, pod=pod)  # fmt: skip
