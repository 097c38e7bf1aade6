"""What `python -m tests.benchmarks.point_in_time` runs: data, contestants, measuring, the page."""
