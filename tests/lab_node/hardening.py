"""How the unit of a node daemon under test is closed in."""

from __future__ import annotations

# The role's unit is at least as strict; what is here is what could break the daemon's own work.
HARDENING = [
    "NoNewPrivileges=yes",
    "PrivateDevices=yes",
    "ProtectKernelTunables=yes",
    "RestrictNamespaces=yes",
    "RestrictSUIDSGID=yes",
    "MemoryDenyWriteExecute=yes",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "ProtectControlGroups=no",
    "ReadWritePaths=/sys/fs/cgroup",
    "StateDirectory=kcms-nodetest",
    "StateDirectoryMode=0700",
    "UMask=0077",
    "CapabilityBoundingSet=CAP_KILL",
]
