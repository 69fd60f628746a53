"""What a site has: its environment file, its registry, its clusters and how to reach each."""
