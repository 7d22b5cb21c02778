"""Measures of speed and size, as ratios against the raw engine in the same run. `make bench` runs them."""
