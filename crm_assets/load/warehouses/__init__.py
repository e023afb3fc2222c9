"""What differs from warehouse to warehouse."""
