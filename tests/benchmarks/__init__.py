"""Benchmarks: redtask beside bare Redis lists and other queues, in one run.

``python -m tests.benchmarks`` (or ``scripts/bench``) measures them side by side:
machines are noisy, so what counts is the ratio of figures taken in turn, A B A B.
"""
