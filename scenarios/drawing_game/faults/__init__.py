"""What only the drawing game can have broken: its flags, its trigger, all of it rolled back."""
