#!/usr/bin/env bash
# Which labels are worth their price: every labeler gets the tokens that brute force spends on 2,000 rollouts, a PRM is
# trained on what each of them made of its budget, and all are measured on the same held-out problems.
# About twenty minutes on two CPU cores. A killed run goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/../../.."
recipes=recipes/arithmetic/labelers

prm rollout --config $recipes/rollout.yaml
for labeler in monte_carlo first_success interval first_error omega consensus; do
    prm label --config $recipes/$labeler.yaml
    case $labeler in first_success | omega) view=hard ;; *) view=soft ;; esac
    prm train --config $recipes/train.yaml --label_view $view \
        --dataset_name runs/labelers/$labeler/labels.jsonl --output_dir runs/labelers/prm_$labeler
done
# The outcome alone costs no tokens: its budget goes into more solutions of the same problems. No judge: it needs a model.
prm rollout --config $recipes/implicit_rollout.yaml
prm label --config $recipes/implicit.yaml
prm train --config $recipes/train_implicit.yaml
prm eval --config $recipes/eval.yaml
prm status runs/labelers
