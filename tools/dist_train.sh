#!/usr/bin/env bash
# Train on several GPUs of this machine: tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# Several machines: NNODES, NODE_RANK, MASTER_ADDR and PORT in the environment; see docs/training.md.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [options of tools/train.py]" >&2
    exit 2
fi
config=$1 gpus=$2
shift 2
if [ "${NNODES:-1}" = 1 ]; then
    where=(--standalone)
else
    where=(--nnodes "$NNODES" --node_rank "$NODE_RANK" --master_addr "$MASTER_ADDR" --master_port "${PORT:-29500}")
fi
exec torchrun "${where[@]}" --nproc_per_node "$gpus" "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
