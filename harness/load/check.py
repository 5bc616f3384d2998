"""Checks the load's options before anything starts: ``python -m harness.load.check --games 5``.

Prints what the load will do with them.
"""

from __future__ import annotations

import sys

from locust.argument_parser import get_empty_argument_parser, setup_parser_arguments

from harness.load.capacity import see_that_it_fits_here
from harness.load.options import OptionError, add_options, load_options
from harness.load.origins import origins, parsed, profile_options, take_over
from harness.load.plan import load_plan
from harness.system import SystemFileError, find_system
from harness.target import deployment_named


def main() -> None:
    """Print the plan, or the help if asked for; exit 2 with what is wrong and the nearest right option."""
    parser = get_empty_argument_parser()
    asked_for_help = bool({"-h", "--help"} & set(sys.argv[1:]))
    try:
        if asked_for_help:  # ours stand first in it
            add_options(parser, profile_options()[1])
        setup_parser_arguments(parser)
        if not asked_for_help:
            add_options(parser, profile_options()[1])
    except (OptionError, SystemFileError) as error:
        parser.error(str(error))
    given = parsed(parser)
    parser.parse_args()  # which knows no options but these
    take_over(given, origins(parser, given))
    if given.user_classes:  # Locust would look for users of that name
        named = "a profile is named by --profile, a system's file by --system"
        parser.error(f"{given.user_classes[0]!r} is no option ({named})")
    try:
        options = load_options(given)
        local = given.local or not (given.host or deployment_named())
        see_that_it_fits_here(options, given, toxiproxies=None if local else 0)
        print("\n".join(load_plan(options, find_system(given.system))))
    except OptionError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
