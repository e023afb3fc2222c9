"""What the checks said, for a terminal, a browser and a machine."""
