# How jobs run. On one machine: run.py. On a Slurm cluster: "slurm.py --config conf/slurm.conf", with options as needed,
# for example "slurm.py --mem 8G". Kaldi's own run.pl, slurm.pl and queue.pl work here too.
# shellcheck shell=bash
export train_cmd="run.py"      # lists, features, scoring: CPU jobs
export cuda_cmd="run.py"       # training and embedding extraction: GPU jobs if --ngpu is not 0
