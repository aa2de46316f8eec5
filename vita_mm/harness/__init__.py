"""Every table and figure of the paper from one command, see benchmarks/run_ablations.py."""
