"""The data in Redis, and the calls that read and change it. No I/O here."""
