"""Generate step-labelled data: problems to rollouts, rollouts to step labels."""
