"""``redtask doctor``: is all well with a hub, its server and those who use it?"""
