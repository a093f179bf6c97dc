"""How time and memory grow with size: measured slopes beside those of the formulas."""
