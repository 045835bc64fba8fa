#!/bin/sh
# First process of a task's unit: DIRECTORY INIT BOOT_ID.  Splits the unit's cgroup in two, so that
# freeze and kill reach the program and not the init that has to report, then becomes the init.
# Where the site has a prologue or an epilogue (see logue.py) it stays, and runs them around the init.
set -eu
while IFS= read -r line; do
    case $line in 0::*) own=/sys/fs/cgroup${line#0::} ;; esac
done < /proc/self/cgroup
mkdir "$own/init" "$own/task"
echo 0 > "$own/init/cgroup.procs"
read -r has < "$own/cgroup.controllers" || has=
for each in memory io; do # only counted by; where there are none the init counts
    case " $has " in *" $each "*) echo "+$each" > "$own/cgroup.subtree_control" || : ;; esac
done
set -- "$1" "$2" "$3" unshare --pid --mount --fork --kill-child --mount-proc --propagation slave \
    /usr/bin/python3 -I -S -E -X utf8 "$2" "$1" "$3"
directory=$1 logue=${2%/*}/logue.py boot=$3
shift 3
[ -e "$directory/logue" ] || exec "$@"

exec 9< "$directory/logue"
flock --nonblock 9 || exit 0 # another unit has this task
run() {
    status=0
    "$@" 9<&- || status=$?
}
run /usr/bin/python3 -I -S -E -X utf8 "$logue" prologue "$directory" "$boot"
[ $status -ne 75 ] || exit 75
if [ $status -eq 0 ]; then
    run "$@"
    while [ $status -eq 75 ]; do # it has to be this unit, as the prologue was its
        sleep 1
        run "$@"
    done
fi
ended=$status
run /usr/bin/python3 -I -S -E -X utf8 "$logue" epilogue "$directory" "$boot"
exit "$ended"
