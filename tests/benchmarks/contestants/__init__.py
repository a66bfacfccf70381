"""Who is measured: a module each, which other queues' environments import alone."""
