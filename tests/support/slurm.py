"""A stand-in for Slurm on this machine: `sbatch` starts an array's jobs at once, `scontrol requeue` starts one again."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_COMMANDS = {
    # of a job of an array the script runs once an index, with the variables that Slurm sets
    "sbatch": r"""
script=${@: -1}
echo "$script" >>"$STUB/sbatch.calls"
id=$(wc -l <"$STUB/sbatch.calls")000 # 1000, 2000, ...
first=0 last=0 array=
if grep -q '^#SBATCH --array=' "$script"; then
    array=yes
    range=$(sed -n 's/^#SBATCH --array=\([0-9]*\)-\([0-9]*\).*/\1 \2/p' "$script")
    read -r first last <<<"$range"
fi
for index in $(seq "$first" "$last"); do
    name=$id; [ -n "$array" ] && name=${id}_$index
    cat >"$STUB/$name.job" <<END
export SLURM_JOB_ID=$((id + 1 + index)) SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=1 SUBMITIT_EXECUTOR=slurm
${array:+export SLURM_ARRAY_JOB_ID=$id SLURM_ARRAY_TASK_ID=$index}
export STUB_JOB=$name
exec bash $(realpath "$script")
END
    setsid bash "$STUB/$name.job" >"$STUB/$name.out" 2>&1 </dev/null &
done
echo "Submitted batch job $id"
""",
    # drops its own options and fills in the patterns of the names of files
    "srun": r"""
out=/dev/null err=/dev/null
while [ $# -gt 0 ]; do
    case $1 in
        --output) out=$2; shift 2 ;;
        --error) err=$2; shift 2 ;;
        --*) shift ;;
        *) break ;;
    esac
done
fill() { echo "$1" | sed "s/%A/$SLURM_ARRAY_JOB_ID/g; s/%a/$SLURM_ARRAY_TASK_ID/g; s/%j/$SLURM_JOB_ID/g; s/%t/0/g"; }
out=$(fill "$out") err=$(fill "$err")
mkdir -p "$(dirname "$out")"
echo $$ >"$STUB/$STUB_JOB.pid"
exec "$@" >>"$out" 2>>"$err"
""",
    "sacct": r"""
echo "JobID|State|NodeList"
for job in "$STUB"/*.job; do
    name=$(basename "$job" .job)
    state=COMPLETED
    [ -f "$STUB/$name.pid" ] && kill -0 "$(cat "$STUB/$name.pid")" 2>/dev/null && state=RUNNING
    [ -f "$STUB/$name.pid" ] && [ ! -f "$STUB/$name.requeued" ] || state=PENDING
    echo "$name|$state|here"
done
""",
    # a requeued job begins when its process has ended
    "scontrol": r"""
echo "$@" >>"$STUB/scontrol.calls"
[ "$1" = requeue ] || exit 1
job=$STUB/$2.job
[ -f "$job" ] || exit 0
old=$(cat "$STUB/$2.pid")
touch "$STUB/$2.requeued"
begin="while kill -0 $old 2>/dev/null; do sleep 0.1; done; rm '$STUB/$2.pid' '$STUB/$2.requeued'; exec bash '$job'"
setsid bash -c "$begin" >>"$STUB/$2.out" 2>&1 </dev/null &
""",
}


def slurm_environment(place: Path) -> dict[str, str]:
    """Write the commands below a folder, and return the environment in which they are found.

    Calls of `scontrol` are noted in `scontrol.calls` of the folder, the process of each job in `JOB.pid`.
    """
    place.mkdir()
    commands = place / "bin"
    commands.mkdir()
    for name, body in _COMMANDS.items():
        (commands / name).write_text(f"#!/bin/bash\n{body}")
        (commands / name).chmod(0o755 | stat.S_IXUSR)
    return {**os.environ, "STUB": str(place), "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
