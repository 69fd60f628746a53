"""The steps of an upgrade: logic and doors put together, each a function that takes and returns small values."""
