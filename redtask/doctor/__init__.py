"""``redtask doctor``: checks a hub, its server, and its clients and workers."""
