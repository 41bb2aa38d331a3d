"""What a run's numbers mean: gains at equal n and at equal FLOPs, what choosing costs, how much of the possible gain a
verifier brings, where more samples stop helping and why, and how many problems a claim needs. Everything is computed
from lines of the table and from scored samples; no model, no text for people (`prm.eval.report`)."""
