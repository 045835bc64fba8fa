"""Lab hosts: real systemd hosts in containers on one machine, for the demo, Molecule and tests.

Run as root from the top of a checkout: ``python3 -m lab up``.  Standard library only.
"""
