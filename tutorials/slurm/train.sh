#!/usr/bin/env bash
# Train one map on several GPUs of several nodes:
#     sbatch --job-name=map train.sh cells.h5ad map.h5ad --use_rep X
# A preempted job is queued again and continues from its checkpoint. If a job runs out of time, submit it again under the
# same name to continue. All nodes must have access to the directory of the job.
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
export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK / 4))
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" torchrun \
  --nnodes "$SLURM_NNODES" --nproc-per-node 4 \
  --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$head:$((20000 + SLURM_JOB_ID % 10000))" \
  -m scgeoae train "$@" --checkpoint "${SLURM_JOB_NAME}.pt" --resume
