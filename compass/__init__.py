"""The core of compass-upgrade: everything that can be decided or done, without Prefect."""

__version__ = "0.1.0"
