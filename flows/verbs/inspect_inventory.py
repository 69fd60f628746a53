"""``inspect --inventory``: where each cluster of an inventory comes from, how it is reached, and whether it answers."""

from __future__ import annotations

import os
from pathlib import Path

from compass.errors import EXIT_DONE, EXIT_FAILED, CompassError
from compass.site.inventory import InventoryCluster, read_inventory
from compass.steps.discover import discover, versions
from flows.screen import Screen


def inspect_inventory(path: Path, screen: Screen) -> int:
    """Show every cluster, declared or found; exit status 1 when one does not answer.

    Raises:
        InvalidInput: something in the inventory is wrong.
        CompassError: a site cannot be asked for its clusters.
    """
    inventory, origins = discover(read_inventory(path), str(path))
    answers = versions(inventory, os.environ)
    value = [
        {
            "cluster": cluster.name, "site": site.name, "role": cluster.role, "origin": origins[cluster.name],
            "reachedBy": reached_by(cluster), "labels": cluster.labels,
            **({"problem": str(answer)} if isinstance(answer, CompassError) else {"version": answer}),
        }
        for site, cluster in inventory.each()
        for answer in [answers[cluster.name]]
    ]  # fmt: skip

    def text() -> None:
        names = ("cluster", "site", "role", "origin", "reachedBy")
        rows = [(*(str(x[y]) for y in names), str(x.get("version", "does not answer"))) for x in value]
        screen.table(("cluster", "site", "role", "comes from", "reached by", "answers"), rows)
        for each in value:
            if "problem" in each:
                screen.say(f"{each['cluster']}: {each['problem']}", "red")

    screen.result(value, text)
    return EXIT_FAILED if any("problem" in x for x in value) else EXIT_DONE


def reached_by(cluster: InventoryCluster) -> str:
    """Return how a cluster is reached, in a few words."""
    if cluster.cluster_api:
        return f"Cluster API {cluster.cluster_api}"
    if cluster.kubeconfig:
        return f"{cluster.kubeconfig}{f' ({cluster.context})' if cluster.context else ''}"
    return f"Cluster object {cluster.object or cluster.name}"
