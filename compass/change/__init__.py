"""What an upgrade would change, decided from data alone: templates, manifests, plan, diff, health, proof."""
