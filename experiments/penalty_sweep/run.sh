#!/bin/sh
# The three sweeps of README.md. Arguments are further overrides for all of them, such as mode=dry.
sweep() {
    name=$1
    shift
    "${PYTHON:-.venv/bin/python}" -m budgetrl -m stage=grpo seed=0,1,2 launch.ranks=1 \
        launch.threads=1 launch.at_once=2 hydra.sweep.dir="runs/penalty_sweep/$name" "$@" || failed=1
}
failed=0
sweep r_b reward=budget_cosine reward.r_b=0,-0.2,-0.4,-0.8 "$@"
sweep alpha reward=budget_cosine reward.alpha_end=0.05,0.1,0.2,0.5,1.0 "$@"
sweep width reward=budget_gauss reward.width=0.33,0.67,1.0,1.5,2.0 "$@"
exit $failed
