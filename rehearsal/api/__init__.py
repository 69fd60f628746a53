"""The simulated Kubernetes API: what a kube-apiserver answers, kept in memory."""
