"""``plan --save FILE`` and ``upgrade --plan FILE``: the plan that is done is the one that was looked at."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from compass import __version__
from compass.change.plan import Plan
from compass.change.saved import SavedPlan, parse_saved, refuse_moved, refuse_other, refuse_other_values, sealed
from compass.change.sealing import Sealer
from compass.clock import iso
from compass.documents import read_text
from compass.errors import CompassError, Refused
from compass.job import Choices, Job
from compass.steps.prepare import Prepared
from compass.steps.record import last_record, who
from compass.steps.render import render
from compass.steps.workplace import Target, Workplace
from compass.store import write_file

LEAVE = ("allow_data_loss", "force_conflicts", "recreate", "keep_obsolete", "prune")
Answers = Sequence[tuple[Target, Plan | CompassError]]


def save_plan(place: Workplace, path: Path, prepared: Prepared, answers: Answers) -> None:
    """Write the plans of all clusters to a file, which only its owner may read.

    Raises:
        Refused: a cluster could not be planned.
    """
    plans = []
    for target, answer in answers:
        if isinstance(answer, CompassError):
            raise Refused("save plan", path, found=f"cluster {target.name} cannot be planned: {answer}",
                          expected="a plan of every cluster", do="leave it out with --cluster")  # fmt: skip
        plans.append(answer)
    salt = secrets.token_hex(16)
    sealer = Sealer(salt)
    saved = SavedPlan(
        made=iso(place.clock.now()), by=who(place.environ), tool=__version__, bundle=prepared.name,
        version=prepared.version, digest=prepared.digest, registry=place.registry_place.host,
        leave=_leave(place.job.choices), clusters=tuple(plans), digests={x.cluster: str(x.digest) for x in plans},
        salt=salt, secrets={x.name: sealed(render(place, x), sealer) for x, _ in answers},
    )  # fmt: skip
    write_file(path.absolute(), saved.model_dump_json(indent=1).encode())


def read_plan(job: Job, path: Path) -> tuple[SavedPlan, Job]:
    """Return a saved plan, and the job with the leave that was given when it was made.

    Raises:
        InvalidInput: it is no saved plan, or more leave is given now.
    """
    saved = parse_saved(read_text(path, "plan").encode(), str(path))
    refuse_other(saved, saved.digest, saved.registry, _leave(job.choices))
    choices = job.choices.model_copy(update={str(name): given for name, given in saved.leave.items()})
    return saved, job.model_copy(update={"choices": choices})


def refuse_unplanned(place: Workplace, saved: SavedPlan, prepared: Prepared, answers: Answers) -> None:
    """Check that what would be done now is what the saved plan says, or the rest of it after an interrupted run.

    Raises:
        Refused: the bundle or the registry is another, or a cluster has moved since.
    """
    refuse_other(saved, prepared.digest, place.registry_place.host, {})
    sealer = Sealer(saved.salt)
    for target, answer in answers:
        if isinstance(answer, Plan):
            last = last_record(place, target)
            has_begun = (
                last is not None and last.digest == prepared.digest and (last.is_interrupted or last.state == "done")
            )
            refuse_moved(saved, answer, is_interrupted=has_begun)
            refuse_other_values(saved, target.name, render(place, target), sealer)


def digests_of(answers: Answers) -> dict[str, str]:
    """Return the digest of each cluster's plan, by the cluster's name."""
    return {target.name: str(x.digest) for target, x in answers if isinstance(x, Plan)}


def refuse_another_plan(shown: Mapping[str, str], answers: Answers) -> None:
    """Check that the plans are those that somebody agreed to before a wait.

    Raises:
        Refused: one is another.
    """
    now = digests_of(answers)
    if moved := sorted(x for x in shown.keys() | now.keys() if shown.get(x) != now.get(x)):
        raise Refused("change cluster", moved[0], found="another plan than was agreed to before the wait",
                      do="look at the plan and give the command again; --yes agrees to any")  # fmt: skip


def _leave(choices: Choices) -> dict[str, bool]:
    return {name: bool(getattr(choices, name)) for name in LEAVE}
