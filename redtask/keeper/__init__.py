"""The keeper of a cluster: a process, and how others communicate with it."""
