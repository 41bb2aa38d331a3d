"""Training verifiers: the trainer, its batches, its evaluation, and what held-out rows decide."""
