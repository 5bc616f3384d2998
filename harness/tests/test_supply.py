"""What others build for us is pinned: an action by its commit, an image by its digest."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
#: What `stormwatch init` writes.
STARTER = ROOT / "harness" / "commands" / "starter"
WORKFLOWS = [*sorted((ROOT / ".github").glob("*/**/*.y*ml")), STARTER / "github.yml"]
GITLAB = ROOT / "fixtures" / "ci" / "gitlab-ci.yml"
PINNED_ACTION = re.compile(r"[\w.-]+(/[\w.-]+)+@[0-9a-f]{40}")
PINNED_IMAGE = re.compile(r"[\w./:-]+@sha256:[0-9a-f]{64}")


def used(document: object) -> list[str]:
    """Return the value of every ``uses``, at whatever depth."""
    if isinstance(document, list):
        return [value for entry in document for value in used(entry)]
    if not isinstance(document, dict):
        return []
    own = [document["uses"]] if "uses" in document else []
    return own + [value for entry in document.values() for value in used(entry)]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_action_is_pinned_by_its_commit(workflow: Path) -> None:
    actions = used(yaml.safe_load(workflow.read_text(encoding="utf-8")))
    assert actions, "a workflow without actions checks nothing out"
    # A file of this very repository is as old as the workflow.
    loose = [one for one in actions if not (one.startswith("./") or PINNED_ACTION.fullmatch(one))]
    assert loose == []


def test_every_image_of_others_is_pinned_by_its_digest() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    images = [service["image"] for service in services.values() if "build" not in service]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    stages = re.findall(r"^FROM\s+(?:--\S+\s+)*\S+\s+AS\s+(\S+)", dockerfile, re.MULTILINE | re.IGNORECASE)
    bases = re.findall(r"^FROM\s+(?:--\S+\s+)*(\S+)", dockerfile, re.MULTILINE | re.IGNORECASE)
    bases += re.findall(r"^COPY\s+--from=(\S+)", dockerfile, re.MULTILINE | re.IGNORECASE)
    images += [base for base in bases if base not in stages]
    for template, job in ((STARTER / "gitlab.yml", "stormwatch"), (GITLAB, ".stormwatch")):
        images.append(yaml.safe_load(template.read_text(encoding="utf-8"))[job]["image"])
    assert len(images) >= 5
    assert [image for image in images if not PINNED_IMAGE.fullmatch(image)] == []


def test_no_port_that_gives_secrets_away_is_published_by_the_containers() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {
        "locust-master": ["127.0.0.1:8089:8089"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
    }
    # Workers are in other containers: they can't reach a master on 127.0.0.1.
    assert "--master-bind-host 0.0.0.0" in services["locust-master"]["command"]
