"""Alerts: rules over the metrics' windows, raised once and resolved once, sent to channels."""
