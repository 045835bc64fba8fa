"""The monitor of one node: measures it, hears its cluster, serves what it knows.

Not the *Monitor* of 2003's job module: that is :mod:`kcms.node`.
"""
