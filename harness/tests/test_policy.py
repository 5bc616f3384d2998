"""The policy file: what it says, and how it says that something in it is wrong."""

from pathlib import Path

import pytest

from harness.sla.policy import DEFAULT_POLICY, PolicyError, load_policy
from harness.sla.units import format_quantity, parse_duration, parse_quantile, parse_share


def edited(tmp_path: Path, old: str, new: str) -> Path:
    text = DEFAULT_POLICY.read_text()
    assert old in text
    path = tmp_path / "sla.toml"
    path.write_text(text.replace(old, new, 1))
    return path


def line_of(path: Path, text: str) -> int:
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line)


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
        ('settle = "10s"', "", "[tolerances]", "missing"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    old: str, new: str, line: str, complaint: str, tmp_path: Path
) -> None:
    path = edited(tmp_path, old, new)
    with pytest.raises(PolicyError) as error:
        load_policy(path)
    assert str(error.value).startswith(f"{path}:{line_of(path, line)}: ")
    assert complaint in str(error.value)


def test_a_file_that_is_no_toml_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "sla.toml"
    path.write_text('schema = "stormwatch.policy/1"\nconfidence = \n')
    with pytest.raises(PolicyError, match="line 2"):
        load_policy(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"nowhere\.toml: no such policy"):
        load_policy(tmp_path / "nowhere.toml")


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
        ("error_rate.assumed_icc", "x", "is not a number"),
    ],
)
def test_a_change_that_makes_no_sense_is_named(name: str, value: str, complaint: str) -> None:
    with pytest.raises(PolicyError, match=complaint):
        load_policy(changes={name: value})


def test_a_profile_changes_what_it_says(tmp_path: Path) -> None:
    path = edited(
        tmp_path, "[profiles.soak]", '[profiles.soak]\nchanges = { "tolerances" = { "timer" = "3s" } }'
    )
    assert load_policy(path, profile="soak").tolerances.timer == 3.0
    assert load_policy(path, profile="quick").tolerances.timer == 1.0
    with pytest.raises(PolicyError, match=r"no profile 'nightly'; it has: production, quick, soak"):
        load_policy(path, profile="nightly")


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
