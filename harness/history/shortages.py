"""What processes of the harness run out of: its own failure, not that of whoever they speak to."""

from __future__ import annotations

from typing import Final

OUT_OF_FILES: Final = "out of open files"
OUT_OF_PORTS: Final = "out of local ports"
OUT_OF_MEMORY: Final = "out of memory"

#: A row with one of these in ``error`` tells of a shortage: a call that failed for it, or a row of kind
#: ``resource`` named :data:`SHORTAGE`, whose actor lacked it as often as ``value`` says.
SHORTAGES: Final = frozenset({OUT_OF_FILES, OUT_OF_PORTS, OUT_OF_MEMORY})
SHORTAGE: Final = "shortage"
