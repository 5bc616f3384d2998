"""`stormwatch open`: the page is found, printed, and shown unless it was only asked where it is."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import main


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: asked.append(address) or len(asked) < 2)
    return asked


def test_the_newest_page_is_shown_and_where_nothing_can_be_opened_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[str]
) -> None:
    run = tmp_path / "reports" / "a-run"
    run.mkdir(parents=True)
    (run / "report.html").touch()
    (run.parent / "latest").symlink_to(run)
    monkeypatch.chdir(tmp_path)
    page = (run / "report.html").resolve()
    done = CliRunner().invoke(main, ["open"])
    assert (done.exit_code, done.stdout.strip(), opened) == (0, str(page), [page.as_uri()])
    for named in (run, run / "report.json"):
        assert CliRunner().invoke(main, ["open", "--print", str(named)]).stdout.strip() == str(page)
    assert len(opened) == 1
    assert "no browser" in CliRunner().invoke(main, ["open"]).stderr


def test_a_page_that_is_not_there_is_named_with_the_way_out(tmp_path: Path, opened: list[str]) -> None:
    done = CliRunner().invoke(main, ["open", str(tmp_path)])
    assert done.exit_code == 4
    assert f"{tmp_path / 'report.html'}: no such page; `stormwatch run` makes one" in done.stderr
    typed = CliRunner().invoke(main, ["open", "no-such-run"])
    assert (typed.exit_code, "no-such-run: no such page" in typed.stderr) == (4, True)
    assert opened == []
