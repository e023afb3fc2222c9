"""Measurements: ratios in one run, never seconds that a test asserts."""
