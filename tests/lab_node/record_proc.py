"""Run on a host as ``record_proc.py TASK_CGROUP INIT``: what /proc and the kernel say of a job, as
JSON for the unit tests (``KCMS_RECORD=FILE pytest tests/lab_node/test_movable.py`` makes them).
Most libraries, mounts and lines of status are left out: the rest is as the kernel gave it."""

# A program for a moment on a host, where only the standard library is.
# ruff: noqa: PTH115, PTH116, PTH123, PTH208

import json
import os
import sys

TEXTS = ("stat", "status", "maps", "smaps_rollup")
LEFT_OUT = ("/usr/lib/", "/usr/share/")
STATUS = (
    "Name", "State", "TracerPid", "Uid", "Gid", "Groups", "NSpid", "NSsid", "RssAnon", "RssShmem",
    "VmSwap", "Threads", "CapInh", "CapPrm", "CapEff", "CapAmb",
)  # fmt: skip
ROLLUP = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")
MOUNTS = ("/", "/dev", "/dev/pts", "/dev/shm", "/tmp", "/run", "/proc", "/srv/kcms-movable")


def text(path):
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def kept(whole, fits):
    return "".join(line for line in whole.splitlines(keepends=True) if fits(line))


def process(pid):
    where = f"/proc/{pid}"
    texts = {name: text(f"{where}/{name}") for name in TEXTS}
    texts["maps"] = kept(texts["maps"], lambda line: not any(each in line for each in LEFT_OUT))
    texts["smaps_rollup"] = kept(texts["smaps_rollup"], lambda line: line.startswith(ROLLUP))
    texts["status"] = kept(texts["status"], lambda line: line.split(":")[0] in STATUS)
    links = {name: os.readlink(f"{where}/{name}") for name in ("root", "cwd", "exe")}
    links |= namespaces(pid)
    stats, protocols = {}, {}
    for name in os.listdir(f"{where}/fd"):
        path = f"{where}/fd/{name}"
        links[f"fd/{name}"] = os.readlink(path)
        texts[f"fdinfo/{name}"] = text(f"{where}/fdinfo/{name}")
        stats[name] = stat_of(path)
        if links[f"fd/{name}"].startswith("socket:"):
            protocols[name] = os.getxattr(path, "system.sockprotoname").decode().rstrip("\0")
    return {"texts": texts, "links": links, "stats": stats, "protocols": protocols}


def namespaces(pid):
    where = f"/proc/{pid}/ns"
    return {f"ns/{name}": os.readlink(f"{where}/{name}") for name in os.listdir(where)}


def stat_of(path):
    found = os.stat(path)
    return [
        found.st_mode, found.st_dev, found.st_ino, found.st_rdev, found.st_size, found.st_nlink
    ]  # fmt: skip


def rows(path, inodes):
    lines = text(path).splitlines()
    return [lines[0], *(line for line in lines[1:] if inodes & set(line.split()))]


def main(cgroup, init):
    sys.path.insert(0, sys.argv[3])
    from kcms.node import sockets

    with open(f"{cgroup}/cgroup.procs") as file:
        pids = file.read().split()
    processes = {pid: process(pid) for pid in pids}
    links = {each for found in processes.values() for each in found["links"].values()}
    inodes = {each[8:-1] for each in links if each.startswith("socket:[")}
    unix = {key: list(row) for key, row in sockets.unix_table().items() if str(key) in inodes}
    peers = {row[1] for row in unix.values()}
    unix |= {key: list(row) for key, row in sockets.unix_table().items() if key in peers}
    return {
        "init": {"pid": int(init), "namespaces": namespaces(init)},
        "mountinfo": kept(text(f"/proc/{init}/mountinfo"), lambda line: line.split()[4] in MOUNTS),
        "processes": processes,
        "net": {name: rows(f"/proc/net/{name}", inodes) for name in ("tcp", "tcp6", "udp")},
        "unix": unix,
    }


if __name__ == "__main__":
    json.dump(main(sys.argv[1], sys.argv[2]), sys.stdout, indent=0, sort_keys=True)
