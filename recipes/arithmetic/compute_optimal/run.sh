#!/usr/bin/env bash
# Compute-optimal search, and a small model under search against a larger one sampled once. Most of the time goes into
# pretraining the larger one. A killed run goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/../../.."
recipes=recipes/arithmetic/compute_optimal

[ -f runs/compute_optimal/large/config.json ] || prm pretrain --config $recipes/pretrain_large.yaml
prm eval --config $recipes/large.yaml
prm eval --config $recipes/policy.yaml
prm eval --config $recipes/follow.yaml
