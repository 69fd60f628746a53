"""What keeps a simulated cluster moving: the controllers of a kube-controller-manager, and a node."""
