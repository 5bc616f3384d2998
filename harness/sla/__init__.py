"""What is promised, and how sure a run is that the promise was kept: policy, metrics, statistics."""
