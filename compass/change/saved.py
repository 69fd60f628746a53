"""A plan on disk: what a person looked at and agreed to, so that exactly that is done later."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from compass.change.manifests import Desired
from compass.change.plan import Change, Plan
from compass.change.sealing import Sealer
from compass.documents import Document, parse_document
from compass.errors import InvalidInput, Refused

LeaveName = Literal["allow_data_loss", "force_conflicts", "recreate", "keep_obsolete", "prune"]


class SavedPlan(Document):
    """The plans of all clusters for one bundle; ``leave`` is what the upgrade may do, as it was given to ``plan``.

    ``digests`` are those of the plans, by cluster; ``secrets`` are the seals of the Secrets to be applied, by cluster
    and object, made with ``salt``, since a plan shows no value of theirs.
    """

    format: Literal[1] = 1
    made: str
    by: str
    tool: str
    bundle: str
    version: str
    digest: str
    registry: str
    leave: dict[LeaveName, bool]
    clusters: tuple[Plan, ...]
    digests: dict[str, str]
    salt: str = ""
    secrets: dict[str, dict[str, str]] = Field(default_factory=dict)

    def for_cluster(self, name: str) -> Plan | None:
        """Return the plan of one cluster, ``None`` when it has none."""
        return next((x for x in self.clusters if x.cluster == name), None)


def parse_saved(data: bytes, where: str) -> SavedPlan:
    """Return a saved plan.

    Raises:
        InvalidInput: it is none, or was changed by hand.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise InvalidInput("read plan", where, found="no JSON", expected="what plan --save wrote") from None
    saved = parse_document(SavedPlan, document, where)
    for plan in saved.clusters:
        if saved.digests.get(plan.cluster) != plan.digest:
            raise InvalidInput("read plan", f"{where}: cluster {plan.cluster}", found="changes that plan did not write",
                               do="make the plan again")  # fmt: skip
    return saved


def refuse_other(saved: SavedPlan, bundle_digest: str, registry: str, leave: Mapping[str, bool]) -> None:
    """Check that a saved plan is for this bundle and registry, and that no more is asked for than it allows.

    Raises:
        Refused: it is for others.
        InvalidInput: leave is given that the plan was made without.
    """
    for what, found, expected in (("bundle", bundle_digest, saved.digest), ("registry", registry, saved.registry)):
        if found != expected:
            raise Refused("upgrade by plan", found=f"{what} {found}", expected=f"{expected}, which the plan is for",
                          do="make a plan for this one")  # fmt: skip
    allowed = {name for name, given in saved.leave.items() if given}
    more = sorted(name for name, given in leave.items() if given and name not in allowed)
    if more:
        option = f"--{more[0].replace('_', '-')}"
        raise InvalidInput("upgrade by plan", found=f"{option}, which the plan was made without",
                           do=f"make the plan again with {option}")  # fmt: skip


def refuse_moved(saved: SavedPlan, now: Plan, *, is_interrupted: bool) -> None:
    """Check that what is to be done on a cluster is what was saved; after an interrupted run, the rest of it.

    Raises:
        Refused: the cluster has no plan, or has moved since.
    """
    whole = saved.for_cluster(now.cluster)
    if whole is None:
        raise Refused("upgrade cluster", now.cluster, found="no plan of it", expected="one in the saved plan",
                      do="make the plan again, or choose clusters with --cluster")  # fmt: skip
    if now.digest == whole.digest or (is_interrupted and _is_rest(now.acting, whole.acting)):
        return
    changed = _first_difference(now.acting, whole.acting)
    raise Refused("upgrade cluster", now.cluster, found=f"it has moved since the plan of {saved.made}: {changed}",
                  expected="the saved plan", do="look at the new plan")  # fmt: skip


def sealed(wanted: Sequence[Desired], sealer: Sealer) -> dict[str, str]:
    """Return the seal of each Secret among the objects, by its name."""
    return {str(x.ref): sealer.seal(x.manifest) for x in wanted if x.manifest["kind"] == "Secret"}


def refuse_other_values(saved: SavedPlan, cluster: str, wanted: Sequence[Desired], sealer: Sealer) -> None:
    """Check that the Secrets to be applied have the values that the plan was made with.

    Raises:
        Refused: one has another value now.
    """
    before = saved.secrets.get(cluster, {})
    for name, seal in sealed(wanted, sealer).items():
        if before.get(name) != seal:
            raise Refused("upgrade cluster", cluster, found=f"{name} would get other values than in the saved plan",
                          expected=f"those of {saved.made}", do="give the same --set, or plan again")  # fmt: skip


def _is_rest(now: Sequence[Change], whole: Sequence[Change]) -> bool:
    planned = {(x.action, x.ref.identity, x.content, x.differences) for x in whole}
    # What was to be created again and is gone by now is only to be created.
    planned |= {("created", x.ref.identity, x.content, ()) for x in whole if x.recreate}
    return all((x.action, x.ref.identity, x.content, x.differences) in planned for x in now)


def _first_difference(now: Sequence[Change], whole: Sequence[Change]) -> str:
    planned = {x.ref.identity: x for x in whole}
    for change in now:
        before = planned.pop(change.ref.identity, None)
        if before is None:
            return f"{change.ref} would be {change.action} too"
        if (before.action, before.differences, before.content) != (change.action, change.differences, change.content):
            return f"{change.ref} would change in another way"
    return f"{next(iter(planned.values())).ref} would not be changed any more" if planned else "in its order"
