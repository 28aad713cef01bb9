#!/usr/bin/env bash
# Run a Python program in several processes that train together: on this machine, or on every node of a Slurm job.

help_message="Run a Python program in several processes that train together, by torchrun.

Usage: $0 <nodes> <processes-per-node> <program> [arguments...]
 e.g.: $0 1 4 -m avsv.bin.train --gpu CONFIG data/train data/dev exp/mini/ecapa

More than one node needs a Slurm job with as many: utils/slurm.py --nodes 2 makes one. A process that dies ends the others.
"

set -euo pipefail
# shellcheck source=utils/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
case ${1:-} in -h | --help) printf '%s' "$help_message"; exit 0 ;; esac
if [ $# -lt 3 ]; then
  printf '%s' "$help_message" >&2
  exit 2
fi
nodes=$1 processes=$2
shift 2

if [ "$nodes" -eq 1 ]; then
  exec python -m avsv.bin.run_ranks --standalone --nproc-per-node "$processes" "$@"
fi
given=${SLURM_JOB_NUM_NODES:-}
[ -n "$given" ] || die "$nodes nodes need a Slurm job: set cuda_cmd to slurm.py in cmd.sh"
[ "$given" -eq "$nodes" ] || die "the Slurm job has $given nodes, not $nodes: see 'option nodes' in conf/slurm.conf"
need_command srun

# Slurm starts the job's script, and so this, on the first node.
address=$(hostname)
port=$(python -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
# srun would take over neither the number of CPUs nor, after sbatch --export=PATH, the environment.
[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
# shellcheck disable=SC2016  # each node's own number
exec srun --export=ALL --nodes "$nodes" --ntasks "$nodes" --ntasks-per-node 1 --cpu-bind=none --kill-on-bad-exit=1 \
  bash -c 'exec python -m avsv.bin.run_ranks --node-rank "$SLURM_PROCID" "$@"' run_ranks \
  --nnodes "$nodes" --nproc-per-node "$processes" --master-addr "$address" --master-port "$port" "$@"
