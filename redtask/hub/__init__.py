"""What is in Redis and the words to say to it. No I/O here."""
