"""Flow ``backup-cluster``: a verified backup of one cluster, on its own."""

from __future__ import annotations

from prefect import flow

from compass.job import Choices, Job, Where
from compass.steps.backup import BackupResult
from flows.alive import signs_of_life
from flows.engine import FLOW_SETTINGS
from flows.upgrade import only
from tasks import backup, sites


@flow(name="backup-cluster", flow_run_name="backup {cluster}", **FLOW_SETTINGS)
def backup_cluster(bundle: str, cluster: str, where: Where = Where(), choices: Choices = Choices()) -> BackupResult:
    """Back up all Releases of a cluster, and what the bundle would touch there.

    Args:
        bundle: path of the bundle on the machine that runs this.
        cluster: name of the cluster.
        where: how to reach it, and where backups are kept.
        choices: how to go about it.

    Raises:
        CompassError: the cluster does not answer, or the backup does not read back as it should.
    """
    with signs_of_life():
        job = Job(bundle=bundle, where=where.model_copy(update={"clusters": (cluster,)}), choices=choices)
        target = only(sites.find_targets(job))
        return backup.back_up(job, target, None, backup.objects_of(job, target))
