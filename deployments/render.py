"""Turn the inventory into ``prefect.yaml``, for those who deploy with Prefect's own command line.

Run ``python -m deployments.render`` (or ``make deployments``) after every change of the inventory, then
``prefect --no-prompt deploy --all``.  ``compass-upgrade deploy`` makes the same deployments, removes what left the
inventory and keeps what an operator paused.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from compass.clock import system_clock
from compass.documents import dump_yaml
from compass.errors import CompassError, exit_status
from compass.site.inventory import Inventory, refuse_never_open
from compass.steps.discover import read_whole
from compass.store import write_file
from deployments.wanted import Wanted, wanted_deployments

HERE = Path(__file__).parent
HEADER = "# Written by `make deployments` from deployments/inventory.yaml: change that, not this.\n"


def render(inventory: Inventory, where: str = "inventory.yaml") -> str:
    """Return the text of ``prefect.yaml`` for an inventory; ``where`` names its file in errors.

    Raises:
        InvalidInput: Prefect could not say when a window opens.
    """
    deployments = [_deployment(x) for x in wanted_deployments(inventory, where)]
    return HEADER + dump_yaml({"name": "compass-upgrade", "deployments": deployments})


def _deployment(wanted: Wanted) -> dict[str, Any]:
    return {
        "name": wanted.name,
        "description": wanted.description,
        "tags": list(wanted.tags),
        "entrypoint": wanted.flow.entrypoint,
        # The package is installed where the workers run: nothing is fetched, and no folder of this machine matters.
        "pull": [],
        "parameters": wanted.parameters,
        "work_pool": {"name": wanted.work_pool},
        "concurrency_limit": {"limit": wanted.concurrency_limit, "collision_strategy": wanted.collision_strategy},
        "schedules": [x.model_dump() for x in wanted.schedules],
    }


def main() -> int:
    """Render the inventory named on the command line and return the exit status."""
    parser = argparse.ArgumentParser(description="Write prefect.yaml from the inventory.")
    parser.add_argument("inventory", nargs="?", type=Path, default=HERE / "inventory.yaml")
    parser.add_argument("-o", "--output", type=Path, default=HERE.parent / "prefect.yaml")
    words = parser.parse_args()
    try:
        inventory = read_whole(words.inventory)
        refuse_never_open(inventory, system_clock().now(), str(words.inventory))
        text = render(inventory, str(words.inventory))
        write_file(words.output, text.encode())
        words.output.chmod(0o644)
    except CompassError as error:
        sys.stderr.write(f"error: {error}\n")
        return exit_status(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
