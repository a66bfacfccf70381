"""The embedded Redis: a real server of our own, for who has none."""
