"""Measurements, on real servers. Not part of the tests: a figure is not a pass or a failure."""
