"""Datasets of other projects: Minari, LeRobot, NumPy's files. What is read of them (`dataset.py`), how their columns become a
world's observations and actions (`mapping.py`), and how episodes are written in their formats."""
