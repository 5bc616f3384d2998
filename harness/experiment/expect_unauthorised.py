"""What may be expected of unauthorised calls: all are refused, and no secret is told to anybody."""

from __future__ import annotations

from dataclasses import dataclass

from harness.documents.rows import Finding
from harness.history.names import UNAUTHORISED, Reading
from harness.judge import Evidence, Window
from harness.judge.findings import none_of, succeeded, unseen, within


@dataclass(frozen=True)
class UnauthorisedCallsRefused:
    """Every call without the right secret is refused with 401 or 403: each kind of it, to every route."""

    at_least: int = 50

    @property
    def name(self) -> str:
        return "every call without the right secret is refused with 401 or 403"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        calls = evidence.rows("http")
        unauthorised = calls["actor"].astype(str).str.startswith(UNAUTHORISED).to_numpy(dtype=bool)
        calls = calls[unauthorised & within(calls["start_ns"], fault.start_ns, fault.end_ns).to_numpy()]
        kinds = calls[["name", "actor"]].astype(str).drop_duplicates()
        explanation = f"{len(calls)} calls, {len(kinds)} kinds of them"
        let_in = calls[~succeeded(calls)]
        if len(calls) < self.at_least and let_in.empty:
            return unseen(self.name, 0.0, "calls", f"only {explanation}")
        return none_of(evidence, self.name, let_in, "calls", explanation)


@dataclass(frozen=True)
class UnauthorisedCallsMadeNothing:
    """What unauthorised calls tried to make is not there."""

    @property
    def name(self) -> str:
        return "unauthorised calls made nothing"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        made = evidence.readings(Reading.MADE_UNAUTHORISED)
        made = made[(made["start_ns"] >= fault.start_ns).to_numpy(dtype=bool)]
        if made.empty:
            return unseen(self.name, 0.0, "rows", "nobody looked for it")
        wrong = made[(made["value"] > 0).to_numpy()]
        return none_of(evidence, self.name, wrong, "rows", f"{made['value'].iloc[-1]:g} rows are there")


@dataclass(frozen=True)
class NoSecretTold:
    """No secret stands in any log, history or report of the run.

    Parameters
    ----------
    among : begins of the names of what must have been searched, as nothing found in nothing proves nothing.
    """

    among: tuple[str, ...] = ("logs/service-1.log", "logs/locust.log", "history/", "report.html")

    @property
    def name(self) -> str:
        return "no secret stands in a log, a history or a report"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        searched = evidence.readings(Reading.SECRETS)
        searched = searched[(searched["start_ns"] >= fault.start_ns).to_numpy(dtype=bool)]
        files = searched["actor"].astype(str)
        missing = [begin for begin in self.among if not files.str.startswith(begin).any()]
        if missing:
            return unseen(self.name, 0.0, "files", f"not searched: {', '.join(missing)}")
        wrong = searched[(searched["value"] > 0).to_numpy()]
        return none_of(evidence, self.name, wrong, "files", f"{len(searched)} files searched")
