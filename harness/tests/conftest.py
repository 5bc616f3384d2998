"""What the harness's tests start can be interrupted, however the tests themselves were started."""

import signal

# A shell starts what it puts into the background with Ctrl-C ignored, and children would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
