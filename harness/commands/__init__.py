"""The commands of `stormwatch`, one module a command, each with a function `command`."""
