"""The embedded Redis: a real server of our own, for users who have none."""
