"""What all of the service's endpoints share: errors, secrets, bodies, the observing middleware."""
