"""The node daemon: runs what the manager wants on this node, and reports what became of it.

``durable``, ``cgroup``, ``init`` and ``program`` are loaded into every task's PID 1 and therefore
import next to nothing; ``core`` is pure.
"""
