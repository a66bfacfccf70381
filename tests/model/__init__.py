"""What a hub does, in plain sets and dicts: for the state machine to compare with.

The model says what becomes of every task: when it may run and where, and how it ends.
What the rules leave open it takes from the hub, if it is allowed: how far a bounded
script got, and in which order one script placed tasks that became ready in it.
"""
