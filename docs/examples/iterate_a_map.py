"""Iterate over a map's results as they arrive."""

import redtask


def slow_square(x: int) -> int:
    import random
    import time

    time.sleep(random.random() / 50)
    return x * x


with redtask.Client() as rc:
    view = rc.load_balanced_view()
    result = view.map_async(slow_square, range(20))
    for number, square in enumerate(result):
        print(f"{number} squared is {square}; {result.progress} of 20 are done")
