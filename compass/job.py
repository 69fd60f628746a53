"""What the user asked for, as small values that may be a flow's parameters: references, never secrets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from compass.bundle.definition import Role
from compass.documents import Document
from compass.window.openings import Calendar

TIMEOUT_SECONDS = 600.0
AtWindowEnd = Literal["finish-step", "finish-cluster", "rollback"]


class Where(Document):
    """Which clusters, and the registry that their nodes pull from.

    ``site`` is a folder with ``.install-env.sh`` and ``.kubectl.kubeconfig``; ``role`` makes the kubeconfig's cluster
    the only one; ``cluster_api`` (``namespace/name``) is a cluster whose kubeconfig a Secret of that one holds;
    ``clusters`` chooses among those that the control cluster knows, all when empty; ``registry`` is
    ``host[:port]``, with ``http://`` before it where it has no TLS.
    """

    site: str | None = None
    kubeconfig: str | None = None
    context: str | None = None
    cluster_api: str | None = None
    clusters: tuple[str, ...] = ()
    role: Role | None = None
    registry: str | None = None
    registry_ca: str | None = None
    state_dir: str = "./compass-state"


class Choices(Document):
    """How to go about it; ``values`` are ``--set`` pairs, whose value may be ``@FILE`` to be read where it runs.

    ``key`` is the file of a public key that must have signed the bundle, empty where it need not be signed;
    ``exact_images`` pushes an image even where the registry has the same content under another digest.
    ``at_window_end`` is what becomes of a cluster whose window ends while it is upgraded.
    """

    values: dict[str, str] = Field(default_factory=dict)
    allow_data_loss: bool = False
    force_conflicts: bool = False
    recreate: bool = False
    keep_obsolete: bool = False
    prune: bool = False
    rollback: bool = True
    keep_backups: int = Field(default=0, ge=0)
    backup_store: str = ""
    timeout_seconds: float = Field(default=TIMEOUT_SECONDS, gt=0)
    patience_seconds: float = Field(default=90.0, ge=0)
    registry_concurrency: int = Field(default=8, ge=1, le=64)
    registry_uploads: int = Field(default=8, ge=1, le=64)
    exact_images: bool = False
    key: str = ""
    parallel_clusters: int = Field(default=8, ge=1, le=64)
    at_window_end: AtWindowEnd = "finish-cluster"


class Job(Document):
    """One thing asked for: a bundle (empty where none is needed), where it goes, how, and when it may."""

    bundle: str = "."
    where: Where = Where()
    choices: Choices = Choices()
    calendar: Calendar = Calendar()

    def for_cluster(self, name: str) -> Job:
        """Return the same job for one cluster."""
        return self.model_copy(update={"where": self.where.model_copy(update={"clusters": (name,)})})
