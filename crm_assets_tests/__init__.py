"""Tests, one file per module; each name says what holds."""
