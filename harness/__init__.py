"""Stormwatch: drive a timer service, break it, record what happens and judge the record."""
