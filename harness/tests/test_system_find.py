"""Whatever is wrong with a system's file is said in one line with the file, the member and the way out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.system import System, SystemFileError, find, find_system
from harness.system.find import GROUP, SETTING, _installed, place_of
from harness.tests.helpers import REFERENCE

WHOLE = """
from pathlib import Path

from harness.system import Lifecycle, SqlWitness, System, Timed

NO = Path("no")

class Auction(System):
    name = "auction"
    lifecycle = Lifecycle("open", ("open->sold",), {"open": Timed("2s")}, {"sold"})
    witness = SqlWitness(moves="SELECT 1", overdue="SELECT 1", due_soon="SELECT 1")

    def start(self, session, item): ...
    def channel(self, item, player): return item
    def read(self, message): return None
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(SETTING, raising=False)
    return tmp_path


def written(text: str, name: str = "mine.py") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_a_system_is_found_in_its_file_and_there_again() -> None:
    system = find_system(written(WHOLE))
    assert issubclass(system, System)
    assert system.name == "auction"
    assert find_system(place_of(system)) is system


def test_the_one_of_the_checkout_is_the_default() -> None:
    assert find_system().name == "drawing game"
    assert find_system(REFERENCE) is find_system()
    assert find_system(place_of(find_system())) is find_system()


@pytest.fixture
def installed(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with a system, as `pip` leaves it."""
    written(WHOLE, "sold_by_auction.py")
    metadata = elsewhere / "sold_by_auction-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: sold\nVersion: 1\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(
        f"[{GROUP}]\nauction = sold_by_auction:Auction\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(elsewhere)
    _installed.cache_clear()
    yield
    _installed.cache_clear()


@pytest.mark.usefixtures("installed")
def test_one_that_is_installed_comes_first() -> None:
    assert find_system().name == "auction"
    assert find_system("auction") is find_system()
    with pytest.raises(SystemFileError, match=r"none.py: no such file; installed: auction"):
        find_system("none.py")


def test_without_any_the_ways_to_name_one_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(find, "SHIPPED", tmp_path / "in a wheel")
    with pytest.raises(SystemFileError, match=r"no system is named: give --system .* `stormwatch init`"):
        find_system()


def test_a_class_that_can_not_be_had_is_named() -> None:
    with pytest.raises(SystemFileError, match=r"the system 'nobody.here:Mine' can't be loaded: Module"):
        find_system("nobody.here:Mine")


def test_the_setting_and_then_the_project_name_another(monkeypatch: pytest.MonkeyPatch) -> None:
    written(f'[tool.stormwatch]\nsystem = "{written(WHOLE)}"\n', "pyproject.toml")
    assert find_system().name == "auction"
    monkeypatch.setenv(SETTING, written(WHOLE.replace('"auction"', '"lots"'), "other.py"))
    assert find_system().name == "lots"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = (", r"mine.py:1: SyntaxError: '\(' was never closed"),
        ("\nimport nothing_of_that_name", "mine.py:2: ModuleNotFoundError: No module named"),
        ("", "mine.py has no systems: write one class"),
        (WHOLE + WHOLE.replace("class Auction", "class Other"), r"has 2 systems \(Auction, Other\)"),
        (WHOLE.replace("def read", "def reed"), "mine.py: Auction lacks read"),
        (WHOLE.replace("def channel", "def canal"), "mine.py: Auction lacks channel or listener"),
        (
            WHOLE.replace("    name =", '    announced = {"open->shut"}\n    name ='),
            "mine.py: Auction.announced: no move is called 'open->shut'",
        ),
        (WHOLE.replace("    witness", "    wetness"), "mine.py: Auction lacks witness"),
        (
            f"{WHOLE}\n    def health(self): ...\n",
            "mine.py: Auction has health without ill; one is of no use without the other",
        ),
        (
            f"{WHOLE}\n    readings = {{}}\n",
            "mine.py: Auction has readings without metrics; one is of no use without the other",
        ),
        (WHOLE.replace('{"sold"}', '{"gone"}'), "mine.py:10: no move reaches 'gone'"),
        (WHOLE.replace('{"open": ', '{"closed": '), "no move reaches 'closed'"),
        (WHOLE.replace('("open->sold",)', '("open->sold", "a->sold")'), "no move from 'open' leads to 'a'"),
        (WHOLE.replace('("open->sold",)', '("open-sold",)'), "'open-sold' is no move"),
        (WHOLE.replace('("open->sold",)', '("open->sold", "sold->open")'), "'sold' is an end, and a move"),
        (
            WHOLE.replace('("open->sold",)', '("open->sold", "open->b")'),
            "no move leaves 'b', and it is no end",
        ),
        (WHOLE.replace('{"open": Timed("2s")}', "{}"), "no state has a timer"),
        (WHOLE.replace('Timed("2s")', 'Timed("2s", short="50ms")'), "'open': 50ms is not between 100ms"),
        (WHOLE.replace('Timed("2s")', 'Timed("2s", least="3s")'), "'open': 2s is not between 3s and 24h"),
        (WHOLE.replace("SqlWitness(", "SqlWitness.from_folder(NO) or dict("), "moves.sql is missing"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(text: str, said: str) -> None:
    with pytest.raises(SystemFileError, match=said) as found:
        find_system(written(text))
    assert "\n" not in str(found.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(SystemFileError, match=r"none.py: no such file"):
        find_system("none.py")


def test_a_project_file_that_can_not_be_read_is_named() -> None:
    written("[tool", "pyproject.toml")
    with pytest.raises(SystemFileError, match=r"pyproject\.toml: can't be read"):
        find_system()
    written("[tool.stormwatch]\nsystem = 3\n", "pyproject.toml")
    with pytest.raises(SystemFileError, match="it must be a file's name"):
        find_system()
