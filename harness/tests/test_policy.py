"""The policy file: what it says, and how it says that something in it is wrong."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.sla.metrics import METRICS
from harness.sla.policy import DEFAULT_POLICY, Policy, PolicyError, flatten, load_policy
from harness.sla.units import format_quantity, parse_duration, parse_quantile, parse_share
from harness.tests.helpers import policy_with


def line_of(path: Path, text: str) -> int:
    return next(
        number for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if text in line
    )


def test_the_policy_holds_every_objective_of_the_design() -> None:
    found = {
        name: (objective.quantile, objective.comparison, objective.threshold, objective.ceiling)
        for name, objective in load_policy().objectives.items()
    }
    assert found == {
        "monitor_execution": (0.95, "<", 5.0, 30.0),
        "broadcast_latency": (0.95, "<", 2.0, None),
        "trigger_execution": (0.95, "<", 0.5, None),
        "pubnub_delivery": (0.95, "<", 1.0, None),
        "timer_answers": (0.99, "<", 0.5, None),
        "error_rate": (None, "<", 0.005, None),
        "availability": (None, ">", 0.999, None),
        "timer_accuracy": (None, ">", 0.999, None),
        "event_delivery": (None, ">", 0.995, None),
        "scenarios_passed": (None, ">", 0.95, None),
    }


@pytest.mark.parametrize(
    ("old", "new", "line", "complaint"),
    [
        ('metric = "errors"', 'metric = "erors"', "erors", "'erors' is unknown"),
        ('quantile = "p95"', 'quantile = "p100"', "p100", "must lie between p0 and p100"),
        ('threshold = "2s"', "threshold = 2", "threshold = 2", "write a number with its unit"),
        ('threshold = "2s"', 'threshold = "2%"', '"2%"', "'2%' is not a duration"),
        ('threshold = "0.5%"', 'threshold = "0.005"', '"0.005"', "is not a share"),
        ('ceiling = "30s"', 'ceilling = "30s"', "ceilling", "unknown; check its spelling"),
        ('comparison = "<"', 'comparison = "<="', '"<="', "Input should be '<' or '>'"),
        ('settle = "10s"', 'settle = "-1s"', "settle", "is not a duration"),
        ('confidence = "95%"', 'confidence = "100%"', "confidence = ", "below"),
        ('schema = "stormwatch.policy/1"', 'schema = "stormwatch.policy/9"', "policy/9", "policy/1"),
        ('quantile = "p95"\n', "", "[objectives.monitor_execution]", "say which quantile"),
        ('threshold = "500ms"\n', "", "[objectives.trigger_execution]", "missing"),
        ('metric = "errors"', 'metric = ["errors"]', '["errors"]', "should be a valid string"),
        ('comparison = "<"', 'comparison = ">"', '">"', 'good on the other side; write "<"'),
        ('threshold = "99.9%"\nassumed', 'threshold = "100%"\nassumed', '"100%"', "exclusive"),
        ('threshold = "0.5%"', 'threshold = "0%"', '"0%"', "exclusive"),
        ('threshold = "500ms"', 'threshold = "0ms"', '"0ms"', "longer than 0s"),
        ('threshold = "500ms"', f'threshold = "{"9" * 400}s"', "9" * 400, "'9999"),
        ('ceiling = "30s"', 'ceiling = "0s"', '"0s"', "greater than 0"),
        ('unmatched = "0.1%"', 'unmatched = "100%"', "unmatched", "nothing would be checked"),
        ('cpu = "90%"', 'cpu = "100%"', "cpu = ", "nothing would be checked"),
        ("assumed_icc = 0.01", 'confidence = "100%"', 'confidence = "100%"', "below"),
        ('threshold = "95%"', 'threshold = "95%"\nconfidence = "90%"', '"90%"', "needs none"),
        ('"pubnub:*"', '"pubnub *"', '"pubnub *"', 'write "place:name target"'),
        ('"tick:*"', '"*"', '"*" = ', 'write "place:name target"'),
        ('"tick:*" = "15s"', '"tick:*" = 15', '"tick:*"', "is not a duration"),
        ('recover = "20s"', 'recover = "0s"', "recover = ", "greater than 0"),
        ("options = { games = 200", "options = { gaems = 200", "gaems", "gaems: the load has no such option"),
        ("options = { games = 200", "options = { games = true", "true", "neither a number nor a string"),
        ('source = "requirements, Performance', 'profiles = ["night"]\nsource = "', '"night"', "no profile"),
        ('source = "requirements, Performance', 'profiles = []\nsource = "', "profiles = []", "at least 1"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    old: str, new: str, line: str, complaint: str, tmp_path: Path
) -> None:
    path = policy_with(tmp_path, old, new)
    with pytest.raises(PolicyError) as error:
        load_policy(path)
    assert str(error.value).startswith(f"{path}:{line_of(path, line)}: ")
    assert complaint in str(error.value)


def test_all_that_is_wrong_is_named_at_once_a_line_each(tmp_path: Path) -> None:
    path = policy_with(tmp_path, 'settle = "10s"', 'setle = "10s"')
    path.write_text(path.read_text(encoding="utf-8").replace('cpu = "90%"', "cpu = 90"), encoding="utf-8")
    with pytest.raises(PolicyError) as error:
        load_policy(path)
    first, second = str(error.value).split("\n")
    assert first.endswith("tolerances.setle: unknown; check its spelling")
    assert "measurement.cpu: " in second


def test_a_policy_may_extend_the_one_that_comes_along(tmp_path: Path) -> None:
    path, shipped = tmp_path / "sla.toml", load_policy(DEFAULT_POLICY)
    path.write_text(
        'extends = "default"\n[objectives.broadcast_latency]\nthreshold = "1s"\n', encoding="utf-8"
    )
    stricter = load_policy(path, profile="quick")
    assert stricter.objectives["broadcast_latency"].threshold == 1.0
    left = {name: one for name, one in stricter.objectives.items() if name != "broadcast_latency"}
    assert left == {name: one for name, one in shipped.objectives.items() if name != "broadcast_latency"}
    assert stricter.profiles == shipped.profiles


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('extends = "defualt"\n', r"sla\.toml:1: extends: there is no 'defualt' to extend"),
        (
            'extends = "default"\n\n[objectives.broadcast_latency]\nthreshold = 3\n',
            r"sla\.toml:4: objectives\.broadcast_latency\.threshold: 3 is not a duration",
        ),
    ],
)
def test_what_extends_wrongly_is_named_with_its_line(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "sla.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError, match=complaint):
        load_policy(path)


def test_what_is_left_out_is_as_the_shipped_policy_says_and_can_be_set(tmp_path: Path) -> None:
    path, shipped = tmp_path / "sla.toml", load_policy(DEFAULT_POLICY)
    path.write_text(
        '[objectives.late_news]\nmetric = "broadcast_latency"\nquantile = "p95"\ncomparison = "<"\n'
        'threshold = "2s"\nsource = "terms"\n[profiles.quick]\noptions = { games = 20 }\n',
        encoding="utf-8",
    )
    least = load_policy(path)
    assert (least.confidence, least.tolerances) == (shipped.confidence, shipped.tolerances)
    assert least.measurement == shipped.measurement
    assert least.recovery.model_copy(update={"faults": shipped.recovery.faults}) == shipped.recovery
    assert least.objectives["late_news"].title == "late news"
    changes = {
        "tolerances.timer": "3s",
        "measurement.cpu": "50%",
        "recovery.detect": "1s",
        "confidence": "90%",
    }
    changed = load_policy(path, changes=changes)
    assert (changed.tolerances.timer, changed.measurement.cpu) == (3.0, 0.5)
    assert (changed.recovery.detect, changed.confidence) == (1.0, 0.9)
    with pytest.raises(PolicyError, match=r"nothing is called 'tolerances\.tymer'"):
        load_policy(path, changes={"tolerances.tymer": "3s"})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, r"sla\.toml: no such policy"),
        ('schema = "stormwatch.policy/1"\nconfidence = \n', "line 2"),
        ("a = " + "[" * 100_000, "nested deeper"),
    ],
)
def test_what_can_not_be_read_is_named(text: str | None, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "sla.toml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError, match=complaint):
        load_policy(path)


def test_single_values_can_be_changed() -> None:
    policy = load_policy(
        changes={
            "broadcast_latency.threshold": "1s",
            "objectives.pubnub_delivery.ceiling": "3s",
            "tolerances.timer": "2s",
            "error_rate.assumed_icc": "0.05",
        }
    )
    assert policy.objectives["broadcast_latency"].threshold == 1.0
    assert policy.objectives["pubnub_delivery"].ceiling == 3.0
    assert policy.objectives["error_rate"].assumed_icc == 0.05
    assert policy.tolerances.timer == 2.0


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("broadcast.threshold", "1s", "nothing is called 'broadcast.threshold'"),
        ("broadcast_latency.treshold", "1s", "nothing is called"),
        ("broadcast_latency.threshold", "fast", "'fast' is not a duration"),
        ("error_rate.assumed_icc", "x", "valid number"),
        ("error_rate.assumed_icc", "nan", "less than or equal to 1"),
        ("error_rate.metric", "broadcast_latency", "threshold: '0.5%' is not a duration"),
        ("tolerances", "none", "valid dictionary"),
        ("profiles.quick.title", "Quick", "nothing is called"),
    ],
)
def test_a_change_that_makes_no_sense_is_named_and_no_line_of_the_file(
    name: str, value: str, complaint: str
) -> None:
    with pytest.raises(PolicyError, match=complaint) as error:
        load_policy(changes={"availability.threshold": "99%", name: value})
    assert str(error.value).startswith(f"--set {name}={value}: ")


def test_all_changes_that_make_no_sense_are_named_at_once() -> None:
    changes = {"no.such": "1s", "broadcast_latency.threshold": "fast", "error_rate.threshold": "slow"}
    with pytest.raises(PolicyError) as error:
        load_policy(changes=changes)
    named = [line.partition(": ")[0] for line in str(error.value).splitlines()]
    assert named == [f"--set {name}={value}" for name, value in changes.items()]


# --- whatever a file says, it is a policy or an error that names a line ---------------------------------


def written(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, str | bool):
        return json.dumps(value)
    return str(value)


def lines_of(table: dict[str, Any], above: str = "") -> Iterator[str]:
    for key, value in table.items():
        name = above + (key if re.fullmatch(r"[\w-]+", key, re.ASCII) else json.dumps(key))
        if isinstance(value, dict) and value:
            yield from lines_of(value, f"{name}.")
        else:
            yield f"{name} = {written(value)}"


def complaint_of(path: Path | None, **options: Any) -> str:
    """What is wrong with a policy; nothing if it is one."""
    try:
        assert isinstance(load_policy(path, **options), Policy)
    except PolicyError as error:
        return str(error)
    return ""


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12) | st.sampled_from(
    ["0%", "100%", "99.99%", "0s", "5s", "p50", "p0", "<", ">", *METRICS, "quick", f"{'9' * 400}s", "a.b", ""]
)
SCALARS = (
    TEXTS
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.dates()
    | st.sampled_from([float("inf"), float("nan")])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
DOCUMENT = tomllib.loads(DEFAULT_POLICY.read_text(encoding="utf-8"))
DOCUMENT["profiles"]["soak"]["changes"] = {"tolerances": {"timer": "3s"}, "error_rate.threshold": "1%"}
PLACES = [name for name, _ in flatten(DOCUMENT)]


@settings(max_examples=300, deadline=None)
@given(
    spoilt=st.lists(st.tuples(st.sampled_from(PLACES), st.integers(0, 3), VALUES), min_size=1, max_size=3),
    renamed=st.none() | TEXTS,
)
def test_whatever_stands_in_a_file_is_a_policy_or_a_named_error(
    spoilt: list[tuple[str, int, Any]], renamed: str | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    for place, above, value in spoilt:
        table, *keys = document, *place.split(".")
        keys = keys[: max(len(keys) - above, 1)]
        for key in keys[:-1]:
            if not isinstance(table.get(key), dict):
                break
            table = table[key]
        table[keys[-1] if renamed is None else renamed] = value
    path = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    path.write_text("\n".join(lines_of(document)), encoding="utf-8")
    assert re.match(rf"$|{re.escape(str(path))}:([0-9]+:| can't be read: )", complaint_of(path))


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(PLACES) | TEXTS, value=TEXTS)
def test_whatever_is_set_is_a_policy_or_an_error_that_names_the_option(name: str, value: str) -> None:
    complaint = complaint_of(None, changes={name: value})
    assert not complaint or complaint.startswith(f"--set {name}={value}: ")


def test_a_policy_is_read_without_locust() -> None:
    code = "import sys, harness.sla.policy as p; p.load_policy(); print('locust' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8"
    ).stdout
    assert out == "False\n"


def test_a_profile_changes_what_it_says(tmp_path: Path) -> None:
    path = policy_with(
        tmp_path, "[profiles.soak]", '[profiles.soak]\nchanges = { "tolerances" = { "timer" = "3s" } }'
    )
    assert load_policy(path, profile="soak").tolerances.timer == 3.0
    assert load_policy(path, profile="quick").tolerances.timer == 1.0
    with pytest.raises(PolicyError, match="no profile 'nightly'; it has: production, quick, size, "):
        load_policy(path, profile="nightly")


SOAK = "[profiles.soak]"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ('changes = { tolerances = { timre = "3s" } }', "nothing is called 'tolerances.timre'"),
        ('changes."tolerances.timre" = "3s"', "nothing is called 'tolerances.timre'"),
        ('changes.error_rate.threshold = "3s"', "objectives.error_rate.threshold: '3s' is not a share"),
        ('changes.error_rate.metric = "availability"', "comparison: availability is good on"),
        ('changes.recovery.faults."tick:*" = 3', "recovery.faults.tick:*: 3 is not a duration"),
        ("changes.profiles.quick.options.games = 3", "nothing is called"),
    ],
)
def test_changes_of_every_profile_are_checked_by_their_own_line(
    changes: str, complaint: str, tmp_path: Path
) -> None:
    path = policy_with(tmp_path, SOAK, f"{SOAK}\n{changes}")
    with pytest.raises(PolicyError) as error:
        load_policy(path, profile="quick")
    assert str(error.value).startswith(f"{path}:{line_of(path, changes)}: ")
    assert complaint in str(error.value)


def test_a_profile_in_tables_of_its_own_is_named_by_its_line(tmp_path: Path) -> None:
    night = '[profiles.night]\ntitle = "-"\n[profiles.night.changes]\n"tolerances.timer" = "soon"'
    path = policy_with(tmp_path, SOAK, f"{night}\n\n{SOAK}")
    line = line_of(path, "soon")
    with pytest.raises(PolicyError, match=rf":{line}: tolerances.timer: 'soon' is not a duration"):
        load_policy(path)


def test_an_objective_may_have_its_own_confidence_and_profiles(tmp_path: Path) -> None:
    path = policy_with(
        tmp_path, 'metric = "errors"', 'metric = "errors"\nconfidence = "99%"\nprofiles = ["production"]'
    )
    policy = load_policy(path)
    errors, availability = policy.objectives["error_rate"], policy.objectives["availability"]
    assert (policy.confidence_of(errors), policy.confidence_of(availability)) == (0.99, 0.95)
    assert policy.confidence_of(policy.objectives["scenarios_passed"]) is None
    assert [errors.applies_to(profile) for profile in ("production", "quick", None)] == [True, False, False]
    assert [availability.applies_to(profile) for profile in ("quick", None)] == [True, True]


def test_a_profile_names_only_objectives_that_there_are(tmp_path: Path) -> None:
    path = policy_with(tmp_path, 'not_judged = ["availability"', 'not_judged = ["avail"')
    with pytest.raises(PolicyError, match=r"profiles\.smoke\.not_judged: no objective 'avail'; there are"):
        load_policy(path)


def test_the_production_profile_is_that_of_the_requirements() -> None:
    options = load_policy().profiles["production"].options
    assert (options["tick"], options["sync"]) == ("10s", "10s")


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("2s", 2), (" 1.5 min ", 90), ("2h", 7200), ("250us", 25e-5)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["5", "s", "", "1 fortnight", "-2s", "nan s", "1e3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_shares_and_quantiles_are_read() -> None:
    assert parse_share("99.9%") == pytest.approx(0.999)
    assert parse_quantile("p99.9") == pytest.approx(0.999)
    for text in ("p0", "p100", "95", "p"):
        with pytest.raises(ValueError, match="quantile"):
            parse_quantile(text)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0482, "s", "48.2 ms"), (1.984, "s", "1.98 s"), (0.0, "s", "0 ms"), (float("inf"), "s", "never"),
        (99.9962, "%", "99.9962 %"), (0.0038, "%", "0.0038 %"), (100.0, "%", "100 %"), (97.5, "%", "97.50 %"),
        (None, "s", "–"), (0.00046, "s", "0.460 ms"), (127.3, "s", "127 s"),
    ],
)  # fmt: skip
def test_quantities_read_well(value: float | None, unit: str, text: str) -> None:
    assert format_quantity(value, unit) == text
