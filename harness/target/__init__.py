"""The system under test: where it is, and what may be done to it."""

from harness.target.address import (
    DEFAULT_PUBNUB_ORIGIN,
    ENVIRONMENT,
    Target,
    TargetError,
    deployment_named,
    forget_deployment,
    name_deployment,
    see_that_it_is_an_address,
)
from harness.target.consent import Action, ConsentError, Permission

__all__ = [
    "DEFAULT_PUBNUB_ORIGIN",
    "ENVIRONMENT",
    "Action",
    "ConsentError",
    "Permission",
    "Target",
    "TargetError",
    "deployment_named",
    "forget_deployment",
    "name_deployment",
    "see_that_it_is_an_address",
]
