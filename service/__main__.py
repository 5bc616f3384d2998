"""`python -m service`: serve, or check the settings and connections, or migrate."""

from __future__ import annotations

import asyncio
import sys

import click

from service import VERSION
from service.app import Service, StartError, wait_and_migrate
from service.logs import configure_logs
from service.migrate import MigrationError
from service.server import run
from service.settings import Settings, SettingsError, load_settings


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", help="Address to listen on; overrides HOST.  [default: 127.0.0.1]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port; 0: a free one; overrides PORT.  [default: 8000]"
)
@click.option("--check", is_flag=True, help="Check the settings, the database and PubNub, and end.")
@click.option("--migrate", "migrate_only", is_flag=True, help="Migrate the database, and end.")
@click.option("--no-migrate", is_flag=True, help="Start without migrating the database.")
@click.version_option(VERSION, prog_name="stormwatch service")
def main(host: str | None, port: int | None, check: bool, migrate_only: bool, no_migrate: bool) -> None:
    """Run the reference service: timer monitoring and broadcasting for a drawing game.

    Settings come from the environment. Required: DATABASE_URL, SUPABASE_URL, SUPABASE_SERVICE_ROLE_KEY,
    CRON_SECRET, PUBNUB_PUBLISH_KEY, PUBNUB_SUBSCRIBE_KEY. All of them are in service/README.md.
    """
    try:
        settings = load_settings(host=host, port=port, migrate_at_start=False if no_migrate else None)
        configure_logs(settings.log_level, settings.environment, settings.secrets())
        if check:
            sys.exit(asyncio.run(_check(settings)))
        elif migrate_only:
            applied = asyncio.run(wait_and_migrate(settings))
            click.echo(f"applied: {', '.join(applied) or 'nothing, the database is up to date'}")
        else:
            run(settings)
    except SettingsError as error:
        click.echo("\n".join(f"service: {line}" for line in str(error).splitlines()), err=True)
        sys.exit(2)
    except (StartError, MigrationError) as error:
        click.echo(f"service: {error}", err=True)
        sys.exit(1)


async def _check(settings: Settings) -> int:
    """Run each check once, print its outcome, and return the exit code."""
    service = Service(settings)
    click.echo("settings       ok")
    await service.database.open()
    await service.publisher.open()
    try:
        healthy, answer = await service.health.answer(details=True)
    finally:
        await service.publisher.close()
        await service.database.close(within_s=1.0)
    for name, check in answer["checks"].items():
        click.echo(f"{name:<14} {'ok' if check['healthy'] else check['error']} ({check['latencyMs']} ms)")
    return 0 if healthy else 1


if __name__ == "__main__":
    main()
