"""Checks the load's options before anything starts: ``python -m harness.load.check --games 5``."""

from __future__ import annotations

from locust.argument_parser import get_empty_argument_parser, setup_parser_arguments

from harness.load.options import LoadOptions, OptionError, add_options
from harness.load.origins import origins, parsed, profile_options, take_over


def main() -> None:
    """Exit 2 with what is wrong with the options, with the nearest right one; print the help if asked for."""
    parser = get_empty_argument_parser()
    setup_parser_arguments(parser)
    add_options(parser, profile_options()[1])
    given = parsed(parser)
    parser.parse_args()  # which knows no options but these
    take_over(given, origins(parser, given))
    try:
        LoadOptions.from_namespace(given)
    except OptionError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
