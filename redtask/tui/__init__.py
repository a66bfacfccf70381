"""The screens of ``redtask status``.

*Model*: ``state.py`` and ``model.py``, a state and a key make a new state. *Reader*:
``reader.py`` reads what a state wants to see. *View*: ``view.py`` and those beside it
turn a state into lines. All of them can be tested without a terminal; ``app.py`` and
``terminal.py`` put them on one.
"""
