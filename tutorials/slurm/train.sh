#!/usr/bin/env bash
# Train one map on several GPUs of several nodes; a preempted job is queued again and goes on from its checkpoint.
# sbatch train.sh cells.h5ad map.h5ad --use_rep X
#SBATCH --job-name=scgeoae
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --time=04:00:00
#SBATCH --requeue
set -euo pipefail

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun \
  --nnodes "$SLURM_NNODES" --nproc-per-node 4 \
  --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$head:29500" \
  -m scgeoae train "$@" --checkpoint "${SLURM_JOB_NAME}.pt" --resume
