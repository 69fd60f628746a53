"""The inventory, and what turns it into Prefect deployments."""
