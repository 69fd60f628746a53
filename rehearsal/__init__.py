"""A simulated site: what a cluster does, without a cluster."""
