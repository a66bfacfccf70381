"""The keeper of a cluster: a process, and how others speak to it."""
