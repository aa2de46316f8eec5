"""Every table and figure of the paper, see benchmarks/run_ablations.py."""
