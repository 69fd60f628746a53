"""The options that the verbs share, and the job that they make."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from compass.bundle.definition import Role
from compass.errors import InvalidInput
from compass.job import TIMEOUT_SECONDS, AtWindowEnd, Choices, Job, Where
from compass.remote import check_address
from flows.screen import Output, Screen

LEAVE = Group("Leave", sort_key=0)
WHERE = Group("Where", sort_key=1)
WHEN = Group("When", sort_key=2)
HOW = Group("How", sort_key=3)
SHOW = Group("What is shown", sort_key=4)


@Parameter(name="*")
@dataclass(frozen=True)
class Leave:
    """What an upgrade may do only when it is told to."""

    allow_data_loss: Annotated[bool, Parameter(group=LEAVE, negative="")] = False
    "Delete claims, volumes, namespaces and definitions that the bundle names."
    force_conflicts: Annotated[bool, Parameter(group=LEAVE, negative="")] = False
    "Take over fields that other tools own."
    recreate: Annotated[bool, Parameter(group=LEAVE, negative="")] = False
    "Delete and create again what cannot be changed, as a Deployment's selector or a Job."
    keep_obsolete: Annotated[bool, Parameter(group=LEAVE, negative="")] = False
    "Leave Releases that the new version no longer has."
    prune: Annotated[bool, Parameter(group=LEAVE, negative="")] = False
    "Delete what an earlier bundle applied and this one no longer has."

    @property
    def words(self) -> tuple[str, ...]:
        """The same as words of a command line."""
        return tuple(f"--{name.replace('_', '-')}" for name, given in asdict(self).items() if given)


@Parameter(name="*")
@dataclass(frozen=True)
class Opening:
    """What windows mean to a run on one's own machine; an inventory says when they are."""

    wait: Annotated[bool, Parameter(group=WHEN, negative="")] = False
    "Wait for the next window; without it, exit status 4 says when that is."
    ignore_window: Annotated[str | None, Parameter(group=WHEN)] = None
    "Why the windows do not count this time; the reason is in the report."


NO_LEAVE, ANY_TIME = Leave(), Opening()


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """Where the work is, how it is done, and what is shown."""

    inventory: Annotated[Path | None, Parameter(group=WHERE)] = None
    "Inventory that says how to reach --cluster, with which choices, and when it may be changed."
    site: Annotated[Path | None, Parameter(group=WHERE)] = None
    "Folder with .install-env.sh and .kubectl.kubeconfig; default: ../.. of the bundle, as the old scripts had it."
    kubeconfig: Annotated[Path | None, Parameter(group=WHERE)] = None
    "Kubeconfig of the control cluster, or of the one cluster to work on."
    context: Annotated[str | None, Parameter(group=WHERE)] = None
    "Context of the kubeconfig; default: its current one."
    cluster: Annotated[tuple[str, ...], Parameter(group=WHERE, negative="")] = ()
    "Name of a cluster to work on; may be given several times; default: all that the control cluster knows."
    role: Annotated[Role | None, Parameter(group=WHERE)] = None
    "Work on the kubeconfig's own cluster alone, in this role."
    registry: Annotated[str | None, Parameter(group=WHERE)] = None
    "Site registry, host[:port]; with http:// before it where it has no TLS."
    registry_ca: Annotated[Path | None, Parameter(group=WHERE)] = None
    "PEM file with the registry's certificate authority."
    state_dir: Annotated[Path, Parameter(group=WHERE)] = Path("./compass-state")
    "Where images, backups and reports are kept."
    set_: Annotated[tuple[str, ...], Parameter(name="--set", group=HOW, negative="")] = ()
    "NAME=VALUE for a template; NAME=@FILE reads the value from a file, as secrets should be."
    rollback: Annotated[bool, Parameter(group=HOW)] = True
    "Take a cluster back to its backup when its upgrade fails."
    backup_to: Annotated[str, Parameter(group=HOW)] = ""
    "Address where each backup is copied to as well, as fsspec has it: file:///mnt/backups, s3://bucket/backups."
    keep: Annotated[int, Parameter(group=HOW)] = 0
    "Backups to keep of each cluster; 0: all."
    key: Annotated[Path | None, Parameter(group=HOW)] = None
    "Ed25519 public key (PEM) that must have signed the bundle."
    timeout: Annotated[float, Parameter(group=HOW)] = TIMEOUT_SECONDS
    "Seconds to wait for a rollout or a removal."
    patience: Annotated[float, Parameter(group=HOW)] = 90.0
    "Seconds to keep asking a server that does not answer."
    parallel: Annotated[int, Parameter(group=HOW)] = 8
    "Clusters worked on side by side."
    registry_concurrency: Annotated[int, Parameter(group=HOW)] = 8
    "Requests to the registry at a time."
    registry_uploads: Annotated[int, Parameter(group=HOW)] = 8
    "Uploads to the registry at a time, by all runs together."
    exact: Annotated[bool, Parameter(group=HOW, negative="")] = False
    "Push images even where the registry has the same content under another digest."
    output: Annotated[Output, Parameter(group=SHOW)] = "text"
    "How results are printed on standard output."
    quiet: Annotated[bool, Parameter(group=SHOW, negative="")] = False
    "Show no progress."
    verbose: Annotated[bool, Parameter(group=SHOW, negative="")] = False
    "Show what is asked and asked again."

    def screen(self) -> Screen:
        """Return where results and progress go."""
        return Screen(self.output, quiet=self.quiet, verbose=self.verbose)

    def job(
        self, bundle: Path | None, leave: Leave, opening: Opening = ANY_TIME,
        at_window_end: AtWindowEnd = "finish-cluster",
    ) -> Job:  # fmt: skip
        """Return the job that these options ask for; paths are made absolute, as a flow may run elsewhere.

        Raises:
            InvalidInput: an option has no sense.
        """
        for name in ("timeout", "parallel", "registry_concurrency", "registry_uploads"):
            if not getattr(self, name) > 0:  # not a number is not more either
                raise InvalidInput("read option", f"--{name.replace('_', '-')}", found=str(getattr(self, name)),
                                   expected="more than 0")  # fmt: skip
        if self.registry == "":  # what a shell makes of a variable that is not set
            raise InvalidInput("read option", "--registry", found="nothing", expected="host[:port]")
        if opening.ignore_window is not None and not opening.ignore_window.strip():
            raise InvalidInput("read option", "--ignore-window", found="nothing", expected="the reason")
        for name in ("patience", "keep"):
            if not getattr(self, name) >= 0:
                raise InvalidInput("read option", f"--{name}", found=str(getattr(self, name)), expected="0 or more")
        if self.backup_to:
            check_address(self.backup_to)
        if self.context and not self.kubeconfig and not self.site:
            raise InvalidInput("read option", "--context", found="no kubeconfig", do="pass --kubeconfig too")
        asked = Job(
            bundle=_absolute(bundle) or "",
            where=Where(
                site=_absolute(self.site), kubeconfig=_absolute(self.kubeconfig), context=self.context,
                clusters=self.cluster, role=self.role, registry=self.registry,
                registry_ca=_absolute(self.registry_ca), state_dir=_absolute(self.state_dir) or "",
            ),
            choices=Choices(
                values=_pairs(self.set_), **asdict(leave), rollback=self.rollback,
                keep_backups=self.keep, backup_store=self.backup_to, key=_absolute(self.key) or "",
                exact_images=self.exact,
                timeout_seconds=self.timeout, patience_seconds=self.patience,
                registry_concurrency=min(self.registry_concurrency, 64),
                registry_uploads=min(self.registry_uploads, 64), parallel_clusters=min(self.parallel, 64),
                at_window_end=at_window_end,
            ),
        )  # fmt: skip
        return self._by_inventory(asked, self.inventory) if self.inventory else asked

    def _by_inventory(self, asked: Job, path: Path) -> Job:
        """Return the job for one cluster of the inventory; what it says of the place holds, and so do its choices."""
        if len(self.cluster) != 1 or self.site or self.kubeconfig or self.role:
            raise InvalidInput("read option", "--inventory", found="--site, --kubeconfig, --role, or no --cluster",
                               expected="one --cluster of the inventory, which says the rest")  # fmt: skip
        from compass.steps.discover import read_whole

        inventory = read_whole(path)
        site, cluster = inventory.find(self.cluster[0], str(path))
        said: dict[str, object] = {"clusters": (cluster.object or cluster.name,)}
        said |= {"registry": self.registry} if self.registry else {}
        said |= {"state_dir": asked.where.state_dir} if self.state_dir != Path("./compass-state") else {}
        where = inventory.where(site, cluster).model_copy(update=said)
        given = {name: value for name, value in asked.choices if value != Choices.model_fields[name].get_default()}
        values = {**cluster.choices.values, **asked.choices.values}
        choices = cluster.choices.model_copy(update={**given, "values": values})
        bundle = asked.bundle or ""
        return Job(bundle=bundle, where=where, choices=choices, calendar=inventory.calendar(site, cluster))


def _absolute(path: Path | None) -> str | None:
    return str(path.expanduser().absolute()) if path is not None else None


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name.isidentifier():
            # The value may be a secret: only the name is shown.
            raise InvalidInput("read --set", repr(name), expected="NAME=VALUE or NAME=@FILE")
        pairs[name] = f"@{_absolute(Path(value[1:]))}" if value.startswith("@") else value
    return pairs
