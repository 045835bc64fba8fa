"""The way of a laptop to a grid: the head's gateway and files, over its user's own SSH login.

Nothing here runs on a host of the grid, and only ``login``, ``channels`` and ``session`` need
paramiko.
"""
