"""One Prefect task per step: call the core, log one line, publish the artifact, return small data."""
