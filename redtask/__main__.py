"""``python -m redtask`` is the ``redtask`` command."""

from redtask.cli import main

if __name__ == "__main__":
    main()
