"""Run again what failed because of a bug, and what failed because of that.

The steps of this pipeline are scripts in a folder, as those of many pipelines are.
One has a bug. When it is repaired, only what is missing runs once more.
"""

import pathlib
import tempfile

import redtask
from redtask import Ref


def step(script: str, *inputs: float) -> float:
    """Run ``main`` of a script as it is now."""
    import runpy

    value: float = runpy.run_path(script)["main"](*inputs)
    return value


with tempfile.TemporaryDirectory() as name, redtask.Client() as rc:
    folder = pathlib.Path(name)
    load, scale = folder / "load.py", folder / "scale.py"
    load.write_text("def main(): return 21.0\n")
    scale.write_text("def main(x): return x * tow\n")

    view = rc.load_balanced_view()
    tasks = view.submit_graph(
        {
            "load": [],
            "scale": ["load"],
            "round": ["scale"],
            "report": ["round", "load"],
        },
        {
            "load": (step, [str(load)]),
            "scale": (step, [str(scale), Ref("load")]),
            "round": (round, [Ref("scale")]),
            "report": (lambda x, y: f"{y} became {x}", [Ref("round"), Ref("load")]),
        },
    )
    names = {result.msg_ids[0]: node for node, result in tasks.items()}
    tasks["report"].wait()
    for node, result in tasks.items():
        print(f"{node:<7}", result.exception() or result.get())
    print()
    print(tasks["report"].why())

    scale.write_text("def main(x): return x * 2\n")

    failed = tasks["scale"]
    plan = rc.replay_plan(ids=failed, downstream=True)
    print("\nThis runs again:", *[names[task_id] for task_id in plan])
    again = rc.replay(ids=failed, downstream=True)
    print(again.get())
    assert again.get()[-1] == "21.0 became 42"
