# How jobs run. On one machine: run.py. On a Slurm cluster: "slurm.py --config conf/slurm.conf", options as needed,
# for example "slurm.py --mem 8G". Kaldi's own run.pl, slurm.pl and queue.pl work in these places too.
# shellcheck shell=bash
export train_cmd="run.py"      # lists, features, scoring: CPU jobs
export cuda_cmd="run.py"       # training and embedding extraction: GPU jobs where --ngpu is not 0
