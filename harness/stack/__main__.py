"""``python -m harness.stack`` obtains Toxiproxy into the cache: what pip can't do of ``make setup``."""

import sys

from harness.stack import StackError, toxiproxy

try:
    binary = toxiproxy.obtain(lambda line: print(line, flush=True))
except StackError as error:
    sys.exit(f"error: {error}")
print(f"toxiproxy-server {binary.version} from {binary.source}: {binary.path}")
