"""The Prefect flows: order, branches, rollback; and the front door, cli.py."""
