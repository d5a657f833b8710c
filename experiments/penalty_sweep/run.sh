#!/bin/sh
# The three sweeps of README.md. Arguments are further overrides for all of them, such as mode=dry.
root=runs/penalty_sweep
budgetrl() {
    "${PYTHON:-.venv/bin/python}" -m budgetrl launch.ranks=1 launch.threads=1 "$@"
}
# All runs use the same reference lengths, which are made once.
labels() {
    budgetrl stage=label stage.format=budget run.dir=$root/labels "$@"
}
sweep() {
    name=$1
    shift
    budgetrl -m stage=grpo seed=0,1,2 launch.at_once=2 hydra.sweep.dir="$root/$name" \
        stage.labels=$root/labels/labels.jsonl stage.steps=100 stage.prompts_per_step=8 stage.optimizer.lr=4e-4 \
        algorithm.budget_entropy.start=0.002 algorithm.budget_entropy.end_at=0.65 \
        stage.eval_every=0 stage.eval_problems=630 "$@" || failed=1
}
failed=0
labels "$@" || exit
sweep r_b reward=budget_cosine reward.r_b=0,-0.2,-0.4,-0.8 "$@"
sweep alpha reward=budget_cosine reward.alpha_end=0.05,0.1,0.2,0.5 "$@"
sweep width reward=budget_gauss reward.width=0.5,1.0,2.0 "$@"
exit $failed
