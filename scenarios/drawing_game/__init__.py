"""What only the drawing game has: its faults, its operator, its alerts, and what may be expected of them."""
