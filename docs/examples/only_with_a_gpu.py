"""Run a function only on engines that have what it needs, such as a GPU.

So that this shows something on any machine, one engine is said to have a GPU whether
it has one or not. Yours ask the driver's library, or look for a file as this one does.
"""

import os

import redtask
from redtask import depend, require


def has_gpu(said: int) -> bool:
    """Ask the engine. ``return False`` would do as well, but says less."""
    import os
    import pathlib

    if pathlib.Path("/dev/nvidia0").exists() or os.getpid() == said:
        return True
    raise redtask.UnmetDependency("there is no GPU")


with redtask.Client() as rc:
    view = rc.load_balanced_view()
    lucky = rc.ids[0]
    pid = view.with_flags(targets=lucky).apply_sync(os.getpid)

    @require("array")
    @depend(has_gpu, pid)
    def multiply(row: list[float], by: float) -> list[float]:
        import time

        time.sleep(0.01)
        return list(array.array("d", [by * x for x in row]))  # type: ignore[name-defined]  # noqa: F821

    rows = [[float(x), x + 0.5] for x in range(10)]
    products = view.map_async(multiply, rows, [2.0] * len(rows))
    print(products.get()[:3], "...")
    print("tasks ran on engines", sorted(set(products.engine_id)))

    # An engine that refuses is not asked again, and where nobody else may be asked
    # that is an error, which says why.
    for engine in rc.ids:
        result = view.with_flags(targets=engine).apply_async(multiply, [1.0], 2.0)
        try:
            print(f"engine {engine}: {result.get()}")
        except redtask.ImpossibleDependency as error:
            print(f"engine {engine}: {error.evalue}")
            print(result.why())
