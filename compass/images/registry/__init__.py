"""The registry: the one door to it, who we are there, and uploads that go on where they broke."""
