"""Windows: when a cluster may be changed."""
