"""The soak: real workers, real Redis, and everything that can go wrong, at random.

What is to go wrong follows from a seed and can be replayed. A ledger outside of
redtask says what really ran, the hub says what it believes, clients say what they were
told, and in the end of each round the three are compared.
"""
