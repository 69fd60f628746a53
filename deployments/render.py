"""Turn the inventory into ``prefect.yaml``: one deployment per cluster and verb.

Run ``python -m deployments.render`` (or ``make deployments``) after every change of the inventory, then
``prefect --no-prompt deploy --all``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from compass.documents import dump_yaml
from compass.errors import CompassError, exit_status
from compass.site.inventory import Inventory, InventoryCluster, InventorySite, Verb, read_inventory
from compass.store import write_file

HERE = Path(__file__).parent
HEADER = "# Written by `make deployments` from deployments/inventory.yaml: change that, not this.\n"
#: Module paths, not files: they load once, from any folder, wherever the package is installed.
ENTRYPOINTS: dict[Verb, str] = {
    "backup": "flows.backup.backup_cluster",
    "upgrade": "flows.upgrade.upgrade_cluster",
    "check": "flows.check.check_cluster",
    "remove": "flows.remove.remove_components",
}


def render(inventory: Inventory) -> str:
    """Return the text of ``prefect.yaml`` for an inventory."""
    deployments = [
        _deployment(inventory, site, cluster, verb)
        for site in inventory.sites
        for cluster in site.clusters
        for verb in cluster.verbs
    ]
    document = {"name": "compass-upgrade", "deployments": deployments}
    return HEADER + dump_yaml(document)


def _deployment(inventory: Inventory, site: InventorySite, cluster: InventoryCluster, verb: Verb) -> dict[str, Any]:
    schedule = cluster.schedules.get(verb)
    where = inventory.where(site, cluster).model_dump(exclude_none=True, exclude_defaults=True, mode="json")
    return {
        "name": cluster.name,
        "description": f"{verb.capitalize()} cluster {cluster.name} ({cluster.role}) of site {site.name}.",
        "tags": [f"site:{site.name}", f"role:{cluster.role}", *(f"{k}:{v}" for k, v in cluster.labels.items())],
        "entrypoint": ENTRYPOINTS[verb],
        # The package is installed where the workers run: nothing is fetched, and no folder of this machine matters.
        "pull": [],
        "parameters": {
            "bundle": inventory.bundle,
            "cluster": cluster.object or cluster.name,
            "where": where,
            "choices": cluster.choices.model_dump(exclude_defaults=True, mode="json"),
        },
        "work_pool": {"name": inventory.work_pool},
        # One run per cluster and verb at a time; a second one waits.
        "concurrency_limit": {"limit": 1, "collision_strategy": "ENQUEUE"},
        "schedules": [schedule.model_dump()] if schedule else [],
    }


def main() -> int:
    """Render the inventory named on the command line and return the exit status."""
    parser = argparse.ArgumentParser(description="Write prefect.yaml from the inventory.")
    parser.add_argument("inventory", nargs="?", type=Path, default=HERE / "inventory.yaml")
    parser.add_argument("-o", "--output", type=Path, default=HERE.parent / "prefect.yaml")
    words = parser.parse_args()
    try:
        text = render(read_inventory(words.inventory))
        write_file(words.output, text.encode())
        words.output.chmod(0o644)
    except CompassError as error:
        sys.stderr.write(f"error: {error}\n")
        return exit_status(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
