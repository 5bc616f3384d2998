"""The load: Locust users, options and life cycle that `scenarios/*.py` build on.

A scenario derives its users from :class:`harness.load.users.GameHost` and calls
:func:`harness.load.lifecycle.register`. Nothing is imported here, for an import of Locust has gevent replace
the standard library's sockets.
"""
