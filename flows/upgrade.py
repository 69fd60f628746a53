"""Flow ``upgrade-cluster``: one cluster from one bundle, nothing touched before everything is known to be good."""

from __future__ import annotations

from prefect import flow

from compass.change.plan import Plan
from compass.clock import iso, system_clock
from compass.cluster.record import Record
from compass.errors import CompassError, InvalidInput, Refused, StepFailed
from compass.job import Choices, Job, Where
from compass.report import ClusterReport, Journal
from compass.steps.failure import after_failure
from compass.steps.prepare import Prepared
from compass.steps.workplace import Target
from flows.engine import FLOW_SETTINGS, as_known, best_effort
from tasks import apply, backup, check, images, plan, record, sites
from tasks import bundle as bundles


@flow(name="upgrade-cluster", flow_run_name="upgrade {cluster}", **FLOW_SETTINGS)
def upgrade_cluster(bundle: str, cluster: str, where: Where = Where(), choices: Choices = Choices()) -> ClusterReport:
    """Upgrade one cluster: verify, preflight, plan, back up, load, delete, apply, wait, check, remove, record.

    Args:
        bundle: path of the bundle on the machine that runs this.
        cluster: its name; with a kubeconfig of one cluster, what to call it.
        where: how to reach it, and its registry.
        choices: how to go about it.

    Raises:
        CompassError: the first thing that went wrong; the report of the cluster is published before.
    """
    job = Job(bundle=bundle, where=where.model_copy(update={"clusters": (cluster,)}), choices=choices)
    prepared = bundles.prepare(job)
    target = only(sites.find_targets(job))
    sites.preflight_site(job, prepared)
    return ClusterUpgrade(job, target, prepared).run()


def only(targets: list[Target]) -> Target:
    """Return the one target of a run for one cluster.

    Raises:
        InvalidInput: there are more.
    """
    if len(targets) != 1:
        raise InvalidInput("find cluster", found=f"{len(targets)} clusters", expected="one", do="pass --cluster")
    return targets[0]


class ClusterUpgrade:
    """The steps of one cluster, with the journal that becomes its report; runs inside whatever flow is running.

    In a run over a whole site the images are loaded already, and ``planned`` is the plan that was agreed to: a
    cluster that has moved since is refused.
    """

    def __init__(self, job: Job, target: Target, prepared: Prepared, planned: Plan | None = None) -> None:
        self.job, self.target, self.prepared, self.agreed = job, target, prepared, planned
        self.journal = Journal(target.name, target.role, system_clock())
        self.plan: Plan | None = None
        self.record: Record | None = None

    def run(self) -> ClusterReport:
        """Take every step and return the report.

        Raises:
            CompassError: the first thing that went wrong; its ``report`` is the cluster's.
        """
        try:
            changed = self._steps()
        except Exception as error:
            known = as_known(error, f"cluster {self.target.name}")
            known.report = self._failed(known)
            best_effort(record.report_cluster, self.target, known.report)
            raise known from error
        report = self.journal.close("upgraded" if changed else "unchanged")
        record.report_cluster(self.target, report)
        return report

    def _steps(self) -> bool:
        """Take every step; return whether anything was changed."""
        journal, job, target = self.journal, self.job, self.target
        if target.problem:
            raise InvalidInput("reach cluster", target.name, found=target.problem)
        with journal.step("preflight") as lines:
            findings = sites.preflight_cluster(job, target)
            lines += findings.lines
            journal.warnings += findings.warnings
        with journal.step("plan") as lines:
            self.plan = planned = plan.make_plan(job, target, self.prepared)
            journal.counts = {k: v for k, v in planned.counts().items() if v}
            lines += [f"{x.action} {x.ref}" for x in planned.acting]
            if self.agreed:
                _refuse_moved(planned, self.agreed)
        if planned.acting:
            self._back_up(planned)
        self._load()
        changed = bool(planned.acting or journal.bytes_sent)
        self._begin_record(planned)
        self._change(planned)
        self._prove(planned)
        self._remove(planned)
        self._end_record()
        return changed

    def _back_up(self, planned: Plan) -> None:
        with self.journal.step("backup") as lines:
            refs = [x.ref for x in (*planned.changes, *planned.removals)]
            saved = backup.back_up(self.job, self.target, self.prepared, refs)
            self.journal.backup = saved.folder
            lines.append(f"{saved.releases} Releases and {saved.objects} objects in {saved.folder}")

    def _load(self) -> None:
        if self.agreed:
            self.journal.skip("load images", "loaded once for all clusters")
            return
        with self.journal.step("load images") as lines:
            loaded = images.load_images(self.job, self.prepared)
            self.journal.bytes_sent = loaded.bytes_sent
            lines += [f"{x.target} {x.digest}" for x in loaded.images]

    def _begin_record(self, planned: Plan) -> None:
        """Write the Record, unless the cluster already says that it has this bundle and nothing is to be done."""
        last = record.last_record(self.job, self.target)
        if planned.acting or last is None or (last.digest, last.state) != (self.prepared.digest, "done"):
            self.record = record.begin_record(self.job, self.target, self.prepared, planned)

    def _change(self, planned: Plan) -> None:
        with self.journal.step("delete replaced") as lines:
            lines += apply.delete_replaced(self.job, self.target, planned).lines
        with self.journal.step("apply") as lines:
            lines += apply.apply_plan(self.job, self.target, planned).lines
        with self.journal.step("wait") as lines:
            lines += apply.wait_rolled_out(self.job, self.target, planned).lines

    def _prove(self, planned: Plan) -> None:
        with self.journal.step("check") as lines:
            expected = check.expect_images(self.job, self.prepared)
            result = check.check_cluster(self.job, self.target, expected)
            lines += [f"{x.verdict} {x.workload} {x.container} {x.image} {x.running}" for x in result.evidence]
            self.journal.warnings += [f"{x.workload}: {x.image}: {x.reason}" for x in result.unproven]
            if result.differences:
                first = result.differences[0]
                raise StepFailed(
                    "check", first.workload, found=f"{first.image} {first.verdict}: {first.reason or first.running}",
                    expected=first.expected, do="see the report for every difference",
                )  # fmt: skip

    def _remove(self, planned: Plan) -> None:
        if not planned.removals:
            return
        with self.journal.step("remove") as lines:
            lines += apply.remove_obsolete(self.job, self.target, planned).lines
            lines += [f"{x.reason}: {x.ref}" for x in planned.removals if x.action == "skipped"]

    def _end_record(self) -> None:
        if self.record is None:
            return
        finished = iso(system_clock().now())
        update = {
            "state": "done", "step": "record", "finished": finished, "backup": self.journal.backup,
            "seconds": self.journal.seconds,
        }  # fmt: skip
        with self.journal.step("record"):
            record.keep_record(self.job, self.target, self.record.model_copy(update=update))

    def _failed(self, error: CompassError) -> ClusterReport:
        """Say what is not as before, and tell the cluster that its upgrade failed, as far as it still answers."""
        journal, plan_made = self.journal, self.plan if self.record else None
        left = after_failure(
            self.job, self.target, plan_made, journal.backup, self.record, str(error), journal.current
        ) if self.record else []  # fmt: skip
        return journal.close("failed", error, left)


def _refuse_moved(planned: Plan, agreed: Plan) -> None:
    if planned.digest != agreed.digest:
        raise Refused(
            "upgrade cluster", planned.cluster, found="the cluster has moved since its plan was made",
            expected="the plan that was shown", do="look at the new plan and start again",
        )  # fmt: skip
