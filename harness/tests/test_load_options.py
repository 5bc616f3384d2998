"""What may be asked of the load, and how it says no."""

import argparse
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pytest

from harness.load.options import OptionError, add_options, load_options
from harness.load.origins import hand_over, in_words, origins, parsed, profile_options, take_over
from harness.load_options import LoadOptions

with pytest.MonkeyPatch.context() as patch:
    # Only its parser is wanted here: gevent must not take over this process, other tests use asyncio.
    patch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    from locust.argument_parser import (
        LocustArgumentParser,
        get_empty_argument_parser,
        setup_parser_arguments,
    )
    from locust.env import Environment
    from locust.shape import LoadTestShape

    from harness.load.director import CannotBegin
    from harness.load.lifecycle import Waves, _shape_of


def load_parser() -> LocustArgumentParser:
    parser = get_empty_argument_parser(default_config_files=[])
    setup_parser_arguments(parser)
    add_options(parser, profile_options()[1])
    return parser


def parse(*arguments: str) -> argparse.Namespace:
    parser = load_parser()
    given = parser.parse_args(list(arguments))
    take_over(given, origins(parser, given))
    return given


def options(*arguments: str) -> LoadOptions:
    return load_options(parse(*arguments))


def test_the_default_is_200_games_of_4_with_phases_of_seconds() -> None:
    default = options()
    assert (default.games, default.players, default.tick_s, default.duration_s) == (200, 4, 1.0, 120.0)
    assert default.phases_s == 10.0
    assert default.sync_s == pytest.approx(10 / 3)


def test_players_ask_for_the_timer_in_proportion_to_the_phases() -> None:
    assert options("--briefing=30s", "--drawing=1min", "--voting=30s").sync_s == 40.0
    assert options("--sync", "250ms").sync_s == 0.25


def test_locusts_own_users_rate_and_time_mean_games_waves_and_limit() -> None:
    asked = options("-u", "12", "-r", "3", "-t", "90s")
    assert (asked.games, asked.wave_size, asked.wave_every_s, asked.run_time_s) == (12, 3, 1.0, 90)


def test_games_begin_in_waves() -> None:
    waves = options("--games=10", "--wave-size=4", "--wave-every=2s")
    assert [waves.spawned(elapsed_s) for elapsed_s in (0, 1.9, 2, 3.9, 4, 99)] == [4, 4, 8, 8, 10, 10]
    assert waves.spawning_s == 4.0


def test_a_seed_is_kept_and_a_random_one_is_told() -> None:
    assert options("--seed", "7").seed == 7
    assert options().seed != options().seed


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--games", "0"], "argument --games: '0'"),
        (["--games", "-3"], "argument --games: '-3'"),
        (["--players", "many"], "argument --players: 'many'"),
        (["--briefing", "3"], "argument --briefing: '3' is not a duration"),
        (["--tick", "0s"], "argument --tick: '0s' must be longer"),
        (["--voting", "-1s"], "argument --voting"),
        (["--sync", "often"], "argument --sync: 'often'"),
        (["--seed", "x"], "argument --seed: 'x'"),
        (["--unknown"], "unrecognized arguments: --unknown"),
    ],
)
def test_an_option_that_makes_no_sense_is_one_line_and_exit_2(
    arguments: Sequence[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(*arguments)
    assert refused.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()[:1]
    assert named in line


def test_what_the_web_form_sets_is_checked_as_well() -> None:
    given = parse()
    given.drawing = "soon"
    with pytest.raises(OptionError, match=r"--drawing: 'soon' is not a duration"):
        load_options(given)


def test_a_limit_that_ends_before_anything_could_be_judged_is_refused() -> None:
    with pytest.raises(OptionError, match=r"--run-time 5s is over before the warm-up"):
        options("-t", "5s")


def test_every_option_tells_its_default_and_its_unit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--help")
    help_ = " ".join(capsys.readouterr().out.split())
    for name in ("briefing", "drawing", "voting", "tick", "sync", "wave-every", "duration", "drain", "probe"):
        text = help_.split(f"--{name} ")[1].split(" --")[0]
        assert "with unit" in text, name
        assert "(default: " in text, name


# --- where a value came from -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "arguments", "games", "origin"),
    [
        ({}, [], 200, None),
        ({"LOCUST_USERS": "7"}, [], 7, "LOCUST_USERS"),
        ({"LOCUST_USERS": "7"}, ["--games=3"], 3, "the command line"),
        ({"LOCUST_USERS": "7"}, ["--games=200"], 200, "the command line"),
        ({"LOCUST_USERS": "7"}, ["-u", "9"], 9, "the command line"),
        (hand_over("soak", {"games": 50}), [], 50, "profile soak"),
        (hand_over("soak", {"games": 50}) | {"LOCUST_USERS": "7"}, [], 50, "profile soak"),
        (hand_over("soak", {"games": 50}), ["--games=3"], 3, "the command line"),
        (hand_over("soak", {"games": 50}), ["-u", "9"], 9, "the command line"),
    ],
)
def test_the_command_line_beats_the_profile_which_locusts_variables_do_not(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    arguments: list[str],
    games: int,
    origin: str | None,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    given = parse(*arguments)
    assert load_options(given).games == games
    assert given.origins.get("games") == origin


def test_locusts_variables_for_rate_and_time_leave_ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCUST_RUN_TIME", "120s")
    monkeypatch.setenv("LOCUST_SPAWN_RATE", "3")
    limited = options()
    assert (limited.run_time_s, limited.wave_size) == (120, 3)
    ours = options("--duration=30s", "--wave-every=2s")
    assert (ours.run_time_s, ours.duration_s, ours.wave_size, ours.wave_every_s) == (None, 30, 25, 2)


def test_a_file_counts_like_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "mine.conf"
    file.write_text("games = 5\nusers = 8\n", encoding="utf-8")
    given = parse(f"--config={file}")
    assert (given.games, given.origins["games"]) == (5, "mine.conf")
    assert parse(f"--config={file}", "--games=6").games == 6


def test_a_run_says_in_a_line_what_is_not_left_to_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCUST_USERS", "7")
    monkeypatch.setenv("LOCUST_RUN_TIME", "60s")
    said = in_words(parse("--players=2", "--tick=2s"))
    assert said == (
        "from LOCUST_USERS: games 7; from the command line: players 2, tick 2s; "
        "from LOCUST_RUN_TIME: duration 60s in all"
    )


def test_what_does_not_count_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCUST_USERS", "7")
    parser = load_parser()
    given = parser.parse_args(["--games=3"])
    assert take_over(given, origins(parser, given)) == [
        "LOCUST_USERS does not count: --games is from the command line"
    ]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LOCUST_RUN_TIME", "soon", "see LOCUST_RUN_TIME"),
        ("LOCUST_USERS", "many", "see LOCUST_USERS"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named_and_no_option_blamed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as refused:
        parsed(load_parser(), [])
    assert refused.value.code == 2
    assert said in capsys.readouterr().err
    monkeypatch.setenv(name, "5s" if name == "LOCUST_RUN_TIME" else "0")
    with pytest.raises(OptionError, match=name):
        options()


def test_an_option_of_the_command_line_is_blamed_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCUST_USERS", "7")
    with pytest.raises(SystemExit):
        parsed(load_parser(), ["--games=none"])
    said = capsys.readouterr().err
    assert "--games: 'none' is not a whole number" in said
    assert "LOCUST_" not in said


def test_no_entry_point_runs_in_other_peoples_gevent_programs() -> None:
    groups = {point.group for point in metadata.distribution("stormwatch").entry_points}
    assert groups == {"console_scripts", "pytest11"}


def test_a_profile_of_another_system_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in hand_over("quick", {"closing": "3s"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OptionError, match=r"profile sets 'closing', .* drawing game .* --sla names it"):
        load_parser()


def test_the_shape_comes_along_and_another_is_refused() -> None:
    environment = Environment()
    assert isinstance(_shape_of(environment, None), Waves)
    assert environment.shape_class is _shape_of(environment, None)

    class Steps(LoadTestShape):
        def tick(self) -> None:
            """End at once."""

    with pytest.raises(CannotBegin, match="a shape of its own, Steps: take it out"):
        _shape_of(Environment(shape_class=Steps()), None)
