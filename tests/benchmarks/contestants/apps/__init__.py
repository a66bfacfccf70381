"""What workers of other queues import: the task, on the Redis that BENCH_URL names.

One module each, because each queue wants its task declared where its worker finds it.
"""
