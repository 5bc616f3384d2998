"""What may be asked of the load, and how it says no."""

import argparse
from collections.abc import Sequence

import pytest

from harness.load.options import LoadOptions, OptionError, add_options, take_over

with pytest.MonkeyPatch.context() as patch:
    # Only its parser is wanted here: gevent must not take over this process, other tests use asyncio.
    patch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    from locust.argument_parser import get_empty_argument_parser, setup_parser_arguments


def parse(*arguments: str) -> argparse.Namespace:
    parser = get_empty_argument_parser(default_config_files=[])
    setup_parser_arguments(parser)
    add_options(parser)
    given = parser.parse_args(list(arguments))
    take_over(given)
    return given


def options(*arguments: str) -> LoadOptions:
    return LoadOptions.from_namespace(parse(*arguments))


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
        LoadOptions.from_namespace(given)


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
