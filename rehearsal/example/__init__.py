"""An example site and bundle: what a rehearsal without a bundle of one's own upgrades, and from what."""
