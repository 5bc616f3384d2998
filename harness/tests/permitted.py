"""Consent to everything, for systems that a test itself started or that are not there at all."""

from urllib.parse import urlsplit

from harness.faults import Deployment
from harness.system import System, find_system
from harness.target import Action, Permission, Target
from harness.target.consent import ask


def permitted(target: Target, *actions: Action) -> Permission:
    """Return the permission to do ``actions`` (default: everything), by consent to the target's addresses."""
    others = [target.database_url, target.toxiproxy_url, target.pubnub_control_url]
    hosts = [urlsplit(url).hostname or "" for url in others if url]
    names = ",".join([urlsplit(target.service_url).netloc, *hosts])
    actions = actions or tuple(Action)
    settings = {action.setting: names for action in actions}
    return ask(target, actions, environment=settings, say=lambda _: None)


def deployment(target: Target, system: type[System] | None = None) -> Deployment:
    """Return ``target`` as a deployment of ``system`` (default: the one named) that may be broken."""
    return Deployment(permitted(target), system or find_system())
