"""What players were told, compared with the truth: each message of a move, field by field.

The witness says of each move what its messages must tell, and observers write down what one told, the first
time that they hear it said. Both are the same text where they agree, so that ten million messages are
compared as numbers (see :func:`~harness.history.row.canonical`).
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import pandas as pd

from harness.history.names import Delivery
from harness.judge.evidence import Evidence
from harness.judge.pairs import ambiguous
from harness.judge.truth import known_to_ns, looks_now_and_then
from harness.judge.violations import Violations, violations_of

#: Why content is not compared, where the record has moves.
_UNTOLD: Final = "the witness does not say what messages must tell (`told`)"
#: Targets of which nobody but the system under test publishes on their keys.
_OWN: Final = "embedded"
#: Of a field that is missing.
_NOTHING: Final = "nothing"


def told_wrongly(evidence: Evidence) -> Violations:
    """Messages that told something of a move that is not so."""
    moved = evidence.transitions
    told = moved[((moved["said"] >= 0) & (moved["event"] >= 0)).to_numpy()]
    told = told[~told["event"].duplicated().to_numpy()]
    truth = pd.Series(told["said"].to_numpy(), index=told["event"].to_numpy())
    heard = evidence.rows("delivery")
    heard = heard[((heard["said"] >= 0) & (heard["event"] >= 0)).to_numpy()]
    heard = heard.assign(truth=heard["event"].map(truth))
    heard = heard[heard["truth"].notna().to_numpy()]
    other = heard[(heard["said"] != heard["truth"]).to_numpy(dtype=bool)]
    wrong = other[[bool(_differences(evidence, row)) for _, row in other.iterrows()]] if len(other) else other
    return violations_of(
        evidence,
        wrong,
        len(heard),
        "Messages of a move that told another kind, number, state, time or request than the witness has of "
        "it; one that says the same again counts once.",
        lambda row: "; ".join(_differences(evidence, row)),
        absent=_UNTOLD if len(moved) and truth.empty else "",
    )


def _differences(evidence: Evidence, row: pd.Series) -> list[str]:
    """Return what a message told otherwise than it is, field by field."""
    said, truth = (_fields(evidence.label("said", int(row[column]))) for column in ("said", "truth"))
    return [
        f"{name}: told {_shown(said, name)}, is {_shown(truth, name)}"
        for name, value in truth.items()
        if name not in said or said[name] != value
    ]


def _fields(text: str | None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text or "{}")
    return found


def _shown(fields: dict[str, Any], name: str) -> str:
    return json.dumps(fields[name], ensure_ascii=False) if name in fields else _NOTHING


def told_of_nothing(evidence: Evidence) -> Violations:
    """Messages of moves that never happened, and of items that their channel is not about."""
    heard, moved = evidence.messages, evidence.transitions
    known = (heard["end_ns"] <= known_to_ns(evidence)).fillna(value=False)
    of_moves = heard[(heard["target"].notna() & (heard["event"] >= 0) & known).to_numpy(dtype=bool)]
    made = pd.concat([moved["event"], evidence.publishes["event"]])
    stray = (of_moves["ok"] == False).fillna(value=False).to_numpy(dtype=bool)  # noqa: E712 - null too
    unmade = ~evidence.among(of_moves["event"], made) | stray
    found = of_moves[unmade]
    # One who repeats an untruth tells one.
    found = found[~found["event"].duplicated().to_numpy()]
    unread = unread_of_the_systems(evidence)
    seen = violations_of(
        evidence,
        pd.concat([found, unread]),
        len(of_moves) + len(unread) if len(moved) else 0,
        "Messages of moves that the witness knows nothing of: made up, said again under another id, or about "
        "another item than the one that they were heard for; and messages that can't be read.",
        _untruth,
        deniable=True,
        doubts=ambiguous(moved),
    )
    if looks_now_and_then(evidence.run):
        return _held_against_nobody(seen, "the witness, which looks now and then, may have missed")
    return (
        seen
        if is_alone(evidence)
        else _held_against_nobody(seen, "others may have published on the same keys")
    )


def unread_of_the_systems(evidence: Evidence) -> pd.DataFrame:
    """Return messages that can't be read by the fault of the system: its reader could read most others."""
    unread = (evidence.messages["name"] == Delivery.UNREADABLE).to_numpy(dtype=bool)
    if not is_alone(evidence) or unread.sum() * 2 >= len(unread):
        return evidence.messages[:0]
    heard = evidence.rows("delivery")
    errors = heard.loc[(heard["name"] == Delivery.UNREADABLE).to_numpy(dtype=bool), "error"]
    return evidence.messages[unread].assign(error=errors.to_numpy())


def _untruth(row: pd.Series) -> str:
    if row["name"] == Delivery.UNREADABLE:
        return f"told what can't be read: {row['error']}"
    return f"told of {row['target']}, which the witness knows nothing of"


def is_alone(evidence: Evidence) -> bool:
    """Return whether nobody but the system under test publishes on the keys of the run's target."""
    return (evidence.run.target or {}).get("origin") == _OWN


def _held_against_nobody(found: Violations, why: str) -> Violations:
    """Return the same as a doubt, with the reason, if anything was found."""
    if not found.violations:
        return found
    doubt = f"{found.violations} messages told of moves that {why}"
    return replace(found, violations=0, deniable=0, doubts=[*found.doubts, doubt])
