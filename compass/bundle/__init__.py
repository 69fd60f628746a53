"""What an upgrade is made of: the definition, its files, where they come from."""
