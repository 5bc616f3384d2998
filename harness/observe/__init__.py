"""The eyes of a run, in processes of their own: what players hear, what the database did, who is busy."""
