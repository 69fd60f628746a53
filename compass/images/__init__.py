"""Container images: out of archives, into a layout by digest, on to a registry."""
