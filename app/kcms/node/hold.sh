#!/bin/sh
# criu's action script of a restore: before anything of the restored tree runs, criu and this script
# leave its cgroup, KCMS_UNIT/task, and the cgroup is frozen.  What fails here fails the restore.
set -eu
[ "$CRTOOLS_SCRIPT_ACTION" = pre-resume ] || exit 0
echo "$PPID" > "$KCMS_UNIT/init/cgroup.procs"
echo 0 > "$KCMS_UNIT/init/cgroup.procs"
echo 1 > "$KCMS_UNIT/task/cgroup.freeze"
