"""The door to a cluster: the only room that imports the Kubernetes client."""
