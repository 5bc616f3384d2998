"""Drills: what a team hopes never to need, practised while games are played, and timed."""
