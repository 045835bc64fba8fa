#!/bin/sh
# First process of a task's unit: DIRECTORY INIT BOOT_ID.  Splits the unit's cgroup in two, so that
# freeze and kill reach the program and not the init that has to report, then becomes the init.
set -eu
while IFS= read -r line; do
    case $line in 0::*) own=/sys/fs/cgroup${line#0::} ;; esac
done < /proc/self/cgroup
mkdir "$own/init" "$own/task"
echo 0 > "$own/init/cgroup.procs"
exec unshare --pid --mount --fork --kill-child --mount-proc --propagation slave \
    /usr/bin/python3 -I -S -E -X utf8 "$2" "$1" "$3"
