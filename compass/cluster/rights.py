"""May we do what the upgrade needs: asked before anything is touched."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from compass.cluster.client import ClusterClient
from compass.errors import Refused
from compass.names import ObjectRef

APPLY = ("get", "create", "patch")
DELETE = ("get", "delete")
READ_ALL = ("list",)
#: What it takes to show that an object can be put back, and to do it.
PUT_BACK = ("create", "update", "delete")


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource, in a namespace or (empty) in all."""

    verb: str
    group: str
    resource: str
    namespace: str

    def __str__(self) -> str:
        where = f" in {self.namespace}" if self.namespace else ""
        group = f".{self.group}" if self.group else ""
        return f"{self.verb} {self.resource}{group}{where}"


def rights_for(client: ClusterClient, refs: Iterable[ObjectRef], verbs: Iterable[str]) -> set[Right]:
    """Return the rights that ``verbs`` on these objects need; kinds that the server does not serve are left out."""
    verbs = tuple(verbs)
    return {
        Right(verb, ref.group, client.plural(ref.api_version, ref.kind), ref.namespace)
        for ref in refs
        if client.serves(ref.api_version, ref.kind)
        for verb in verbs
    }


def need_rights(client: ClusterClient, rights: set[Right]) -> int:
    """Check every right and return how many were checked.

    Raises:
        Refused: one or more are missing; all of them are named.
    """
    wanted = sorted(rights)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda x: client.allowed(x.verb, x.group, x.resource, x.namespace), wanted))
    missing = [str(right) for right, allowed in zip(wanted, answers, strict=True) if not allowed]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise Refused(
            "check rights on", client.where, found=f"may not {', '.join(missing[:5])}{more}",
            do="give the kubeconfig's user these rights",
        )  # fmt: skip
    return len(wanted)
