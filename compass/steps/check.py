"""Step: prove that what runs is what the bundle holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compass.change.health import POD_MAKERS, wants_no_pods
from compass.change.manifests import Desired, container_images
from compass.change.proof import OTHER_IMAGE, Evidence, judge_workload, running_images
from compass.cluster.client import ClusterClient
from compass.cluster.pods import pods_of
from compass.digests import Digest
from compass.documents import Document
from compass.images.identity import same_image
from compass.names import ImageName
from compass.steps.images import ExpectedImage
from compass.steps.render import fit, render
from compass.steps.workplace import Target, Workplace


class ImageProof(Document):
    """One image of the bundle against the registry; ``short`` is how the old scripts printed it."""

    short: str
    name: str
    published: str
    is_equal: bool
    reason: str = ""


class CheckResult(Document):
    """The evidence of one cluster."""

    cluster: str
    evidence: tuple[Evidence, ...]

    @property
    def is_equal(self) -> bool:
        """Whether everything that the bundle's workloads run, and that the bundle holds, is the bundle's."""
        return not self.differences

    @property
    def differences(self) -> tuple[Evidence, ...]:
        """What is not as the bundle has it."""
        return tuple(x for x in self.evidence if x.verdict in ("different", "not running"))

    @property
    def unproven(self) -> tuple[Evidence, ...]:
        """Images that the bundle does not hold, so that it cannot prove them."""
        return tuple(x for x in self.evidence if x.verdict == "unknown image")


def check_registry(place: Workplace, expected: Sequence[ExpectedImage]) -> list[ImageProof]:
    """Return, for each image of the bundle, whether the registry has it under its name."""
    proofs = []
    for image in expected:
        name = ImageName.parse(image.name)
        reason = ""
        if not image.is_published:
            host = place.registry_place.host
            reason = f"{host} has another image of this name" if image.published else f"{host} does not have it"
        proofs.append(
            ImageProof(
                short=name.short, name=image.name, published=image.published, is_equal=image.is_published, reason=reason
            )
        )
    return proofs


def check_cluster(place: Workplace, target: Target, expected: Sequence[ExpectedImage]) -> CheckResult:
    """Compare what the pods of the bundle's workloads run with the bundle.

    Raises:
        InvalidInput, Transient, Refused: the cluster cannot be asked.
    """
    client = place.client(target)
    digests = {ImageName.parse(x.name).short_path: x.digests for x in expected}
    evidence: list[Evidence] = []
    for item in fit(client, render(place, target)):
        if item.ref.kind in POD_MAKERS | {"Pod"}:
            evidence += _workload(place, client, item, digests, expected)
    return CheckResult(cluster=target.name, evidence=tuple(evidence))


def _workload(
    place: Workplace, client: ClusterClient, item: Desired, digests: Mapping[str, frozenset[str]],
    expected: Sequence[ExpectedImage],
) -> list[Evidence]:  # fmt: skip
    live = client.get(item.ref)
    if live and wants_no_pods(live):
        return []
    pods = pods_of(client, live, current=False) if live else []
    wanted = container_images(item.manifest, str(item.ref))
    found = judge_workload(str(item.ref), wanted, running_images(pods), digests)
    return [_asked(place, x, expected) if x.verdict == "different" and x.running else x for x in found]


def _asked(place: Workplace, evidence: Evidence, expected: Sequence[ExpectedImage]) -> Evidence:
    """Ask the registry whether an unknown digest is the same image after all: one platform of an index, say."""
    image = _expected(evidence.image, expected) if evidence.reason == OTHER_IMAGE else None
    if image is None:
        return evidence
    name = ImageName.parse(evidence.image)
    configs = [Digest(x) for x in image.config_digests]
    if same_image(place.registry, name, Digest(evidence.running), configs):
        return evidence.model_copy(update={"verdict": "equal", "reason": "the same image under another digest"})
    return evidence


def _expected(text: str, expected: Sequence[ExpectedImage]) -> ExpectedImage | None:
    path = ImageName.parse(text).short_path
    return next((x for x in expected if ImageName.parse(x.name).short_path == path), None)
