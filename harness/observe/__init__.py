"""What is seen of a run, by processes of their own: what players hear, what the database did, who is busy."""
