"""The screens of ``redtask status``.

*Model*: ``state.py`` and ``model.py`` make a new state from a state and a key.
*Reader*: ``reader.py`` reads what a state needs. *View*: ``view.py`` and the modules
beside it render a state as lines. All of them can be tested without a terminal;
``app.py`` and ``terminal.py`` connect them to one.
"""
