"""Image archives, as docker, podman, skopeo and containerd write them, read once as streams into a layout."""
