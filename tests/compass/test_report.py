"""Reports tell what happened, in values and in Markdown."""

from datetime import UTC, datetime

import pytest

from compass import markdown
from compass.change.plan import Plan, change_of
from compass.change.proof import Evidence
from compass.clock import Clock
from compass.errors import Refused
from compass.job import Choices, Job, Where
from compass.names import ObjectRef
from compass.report import ClusterReport, Journal, RunReport, now_text

SERVICE = ObjectRef("v1", "Service", "a", "b")


def journal() -> Journal:
    moments = iter([10.0, 12.5, 20.0, 21.0])
    clock = Clock(lambda: datetime(2026, 1, 31, 2, 0, tzinfo=UTC), lambda: next(moments), lambda _: None)
    assert now_text(clock) == "2026-01-31T02:00:00Z"
    return Journal("one", "user", clock)


def test_a_journal_keeps_each_step_with_its_time_and_its_lines() -> None:
    kept = journal()
    with kept.step("plan") as lines:
        lines.append("created x")
    kept.skip("backup", "nothing to change")
    with pytest.raises(Refused), kept.step("apply") as lines:
        refuse(lines)
    assert kept.current == "apply"
    assert kept.seconds == {"plan": 2.5, "backup": 0.0, "apply": 1.0}
    report = kept.close("failed", Refused("lock", "one"), ["Service/a/b: changed"])
    assert [(x.name, x.state, x.lines) for x in report.steps] == [
        ("plan", "done", ("created x",)),
        ("backup", "skipped", ("nothing to change",)),
        ("apply", "failed", ("created y",)),
    ]
    assert (report.state, report.problem, report.exit_status) == ("failed", "lock one", 4)
    assert report.not_as_before == ("Service/a/b: changed",)
    assert ClusterReport.model_validate_json(report.model_dump_json()) == report


def refuse(lines: list[str]) -> None:
    lines.append("created y")
    raise Refused("lock", "one")


def test_a_journal_without_error_ends_well() -> None:
    report = journal().close("unchanged")
    assert (report.problem, report.exit_status, report.steps) == ("", 0, ())


def test_a_plan_in_markdown_has_a_row_per_object() -> None:
    lines = [f"spec.{n}: 1 -> 2" for n in range(7)]
    plan = Plan(
        cluster="o|ne", role="user", bundle="b", bundle_digest="d",
        changes=(
            change_of("configured", SERVICE, component="c", lines=lines),
            change_of("skipped", SERVICE, reason="protected"),
        ),
    )  # fmt: skip
    text = markdown.of_plan(plan)
    assert "## Plan for cluster o\\|ne: 1 configured, 1 skipped" in text
    assert "| ~ | configured | Service/a/b | c | spec.0: 1 -> 2; " in text
    assert "(and 2 more) |" in text
    assert "| . | skipped | Service/a/b |  | protected |" in text


def test_nothing_in_a_cell_breaks_the_table() -> None:
    text = markdown.table(("a",), [["x|y\nz<script>"]])
    assert text == "| a |\n|---|\n| x\\|y z&lt;script> |"


def test_long_tables_are_cut_and_counted() -> None:
    text = markdown.table(("a",), [[n] for n in range(markdown.MAX_ROWS + 3)])
    assert text.endswith("… and 3 more")
    assert text.count("\n| ") == markdown.MAX_ROWS
    assert markdown.bulleted("Left", []) == "## Left\n\n- nothing to do"


def test_results_in_markdown_name_what_matters() -> None:
    cluster = ClusterReport(
        cluster="one", role="user", state="failed", problem="lock <x>", not_as_before=("Service/a/b: changed",)
    )
    assert "**lock &lt;x>**" in markdown.of_cluster(cluster)
    assert "- Service/a/b: changed" in markdown.of_cluster(cluster)
    run = RunReport(
        verb="upgrade",
        bundle="b",
        version="1",
        digest="d",
        by="me",
        started="s",
        finished="f",
        state="failed",
        clusters=(cluster,),
    )
    assert "| one | user | failed | lock &lt;x> |" in markdown.of_run(run)
    evidence = Evidence(workload="Deployment/a/b", container="c", image="i:1", verdict="not running", reason="no pod")
    assert "| not running | Deployment/a/b | c |  | i:1 | - | no pod |" in markdown.of_evidence("one", [evidence])


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (5 * 10**9, "5.0 GB"),
        (10**13, "10000.0 GB"),
    ],
)
def test_a_size_is_read_by_people(size: int, text: str) -> None:
    assert markdown.size_text(size) == text


def test_a_job_is_for_one_cluster_and_holds_no_unknown_key() -> None:
    job = Job(bundle="b", where=Where(clusters=("a", "b")), choices=Choices(values={"x": "@file"}))
    one = job.for_cluster("b")
    assert one.where.clusters == ("b",)
    assert one.choices == job.choices
    assert Job.model_validate_json(job.model_dump_json()) == job
    for wrong in ({"timeout_seconds": 0}, {"parallel_clusters": 0}, {"registry_concurrency": 65}, {"patience": 1}):
        with pytest.raises(ValueError, match="1 validation error"):
            Choices(**wrong)
