"""What people and other tools see of a run.

`queries` reads a record and returns plain data; `terminal`, `report` and `tensorboard` show it, `text` words it for all of
them, `figures` draws it. `display` is how anything is printed.
"""
