"""PubNub's Access Manager in an experiment: the service bears a token, which is revoked and granted again."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
from pubnub.models.consumer.v3.channel import Channel
from pubnub.pnconfiguration import PNConfiguration
from pubnub.pubnub import PubNub

from harness.faults import Exercised, Fault, FaultTarget, MissingPartError
from harness.files import write_atomically
from harness.stack.pubnub_control import PubNubControl
from harness.target import Target

_FORBIDDEN: Final = 403
_TTL_MINUTES: Final = 60


class AccessManager:
    """The server that grants: it has the secret key, and puts the service's token where the service reads it.

    Parameters
    ----------
    file : what the service is told as ``PUBNUB_TOKEN_FILE``.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._secret = f"sec-c-{secrets.token_hex(12)}"
        self._token = ""

    @property
    def environment(self) -> Mapping[str, str]:
        """What the service is started with."""
        return {"PUBNUB_TOKEN_FILE": str(self._file)}

    def turn_on(self, target: Target) -> None:
        """Let nobody publish without a token, and give the service one; everybody may listen.

        Skips the scenario where there is no emulator within reach.
        """
        try:
            control = control_of(target)
        except MissingPartError as error:
            pytest.skip(str(error))
        control.turn_access_manager_on(
            publish=target.pubnub_publish_key, subscribe=target.pubnub_subscribe_key, secret=self._secret
        )
        self.grant(target)
        # From here on the token is needed: so far everybody might do everything.
        self._server(target).grant().read(True).write(False).sync()

    def grant(self, target: Target) -> None:
        """Give the service a new token to publish anywhere."""
        # Two of the same second would be the same token, revoked or not.
        asked = self._server(target).grant_token().ttl(_TTL_MINUTES).meta({"n": secrets.token_hex(4)})
        self._token = asked.channels([Channel.pattern(".*").write()]).sync().result.token
        write_atomically(self._file, self._token)

    def revoke(self, target: Target) -> None:
        """Take the service's token back; it goes on bearing it."""
        self._server(target).revoke_token(self._token).sync()

    def _server(self, target: Target) -> Any:
        configuration = PNConfiguration()
        configuration.publish_key = target.pubnub_publish_key
        configuration.subscribe_key = target.pubnub_subscribe_key
        configuration.secret_key = self._secret
        configuration.user_id = "access-manager"
        # Past the proxies: what is broken there does not concern it.
        configuration.origin = control_of(target).url.removeprefix("http://")
        configuration.ssl = False
        configuration.enable_subscribe = False
        return PubNub(configuration)


def control_of(target: Target) -> PubNubControl:
    """Return the control API of the target's emulator.

    Raises
    ------
    MissingPartError
        It has none.
    """
    if target.pubnub_control_url is None or target.pubnub_control_token is None:
        raise MissingPartError("the target has no PubNub emulator whose Access Manager could be turned on")
    return PubNubControl(target.pubnub_control_url, target.pubnub_control_token)


@dataclass(frozen=True)
class TokenRevoked(Fault):
    """Revoke the token that the service publishes with.

    At its end, it is given another one.
    """

    place: ClassVar[str] = "pubnub"
    name: ClassVar[str] = "token-revoked"

    access: AccessManager = field(kw_only=True, repr=False, compare=False)

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        control = control_of(on.target)
        last = max((entry.number for entry in control.log(operation="publish")), default=0)

        def exercised() -> str | None:
            attempts = control.log(after=last, operation="publish")
            refused = any(entry.status == _FORBIDDEN for entry in attempts)
            return None if refused else "nothing was published meanwhile"

        self.access.revoke(on.target)
        try:
            yield exercised
        finally:
            self.access.grant(on.target)
