"""The console script ``oms``: set up, serve, load and look after the operational database."""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from oms_ops.access.actor import Actor

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
carriers_app = typer.Typer(no_args_is_help=True, help="Who carries parcels.")
key_app = typer.Typer(no_args_is_help=True, help="API keys.")
demo_app = typer.Typer(no_args_is_help=True, help="The demo's real orders.")
feed_app = typer.Typer(no_args_is_help=True, help="The change feed and its readers.")
inbox_app = typer.Typer(no_args_is_help=True, help="Messages from other systems.")
payments_app = typer.Typer(no_args_is_help=True, help="Money in and out.")
routing_app = typer.Typer(no_args_is_help=True, help="Which warehouse ships what.")
rules_app = typer.Typer(no_args_is_help=True, help="The shop's rules.")
warehouse_app = typer.Typer(no_args_is_help=True, help="Buildings that ship and receive.")
app.add_typer(warehouse_app, name="warehouse")
app.add_typer(carriers_app, name="carriers")
app.add_typer(key_app, name="key")
app.add_typer(feed_app, name="feed")
app.add_typer(inbox_app, name="inbox")
app.add_typer(payments_app, name="payments")
app.add_typer(routing_app, name="routing")
app.add_typer(rules_app, name="rules")
app.add_typer(demo_app, name="demo")


def main() -> None:
    """Run a command; a refusal is one line on stderr and exit status 1."""
    from oms_ops.errors import OmsError

    try:
        app()
    except OmsError as error:
        typer.echo(f"oms: {error}", err=True)
        sys.exit(1)


def _engine() -> Engine:
    from oms_ops.database import make_engine
    from oms_ops.settings import settings

    return make_engine(settings().url)


#: What was said before the command.
_said: dict[str, str | None] = {}


@app.callback()
def begin(
    name: Annotated[
        str | None,
        typer.Option("--as", help="Your name on what you change; your login if not said."),
    ] = None,
) -> None:
    """Remember who gives the command."""
    _said["as"] = name


def _actor() -> Actor:
    """Return who gives the command: the holder of ``OMS_API_KEY``, or the local administrator.

    Whoever reaches the database from here could change it by any other means: without a key the
    command line permits all, and writes ``cli:NAME`` on it.
    """
    import getpass

    from oms_ops.access.actor import Actor
    from oms_ops.access.keys import authenticate
    from oms_ops.settings import settings

    name = _said.get("as")
    if (key := settings().api_key) and name is None:
        return authenticate(_engine(), key)
    if name is None:
        # In a container the user may have no name.
        with suppress(KeyError, OSError):
            name = getpass.getuser()
    return Actor(f"cli:{name or 'nobody'}", "admin")


@app.command()
def init() -> None:
    """Create or migrate the operational database."""
    from oms_ops.setup import init as initialise

    engine = _engine()
    initialise(engine)
    typer.echo(f"ready: {engine.url.render_as_string(hide_password=True)}")


@key_app.command("create")
def key_create(
    role: Annotated[str, typer.Option(help="admin, clerk, warehouse, merchandiser, ...")],
    name: Annotated[str, typer.Option(help="Stands on every change made with the key.")],
    days: Annotated[int | None, typer.Option(min=1, help="Expires after so many days.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="Only this permission of the role; may be repeated.")
    ] = None,
) -> None:
    """Create an API key and print it, this once."""
    from oms_ops.access import keys
    from oms_ops.database import run

    by = _actor()
    lifetime = timedelta(days=days) if days else None
    typer.echo(
        run(
            _engine(),
            lambda c: keys.create(c, role, name, lifetime=lifetime, scopes=scope or None, by=by),
        )
    )


@key_app.command("list")
def key_list() -> None:
    """List the keys, without their secrets."""
    from oms_ops.access import keys
    from oms_ops.database import reading

    with reading(_engine()) as connection:
        for key in keys.listing(connection, _actor()):
            ends = key["revoked_at"] or key["expires_at"]
            state = "revoked" if key["revoked_at"] else f"until {ends:%Y-%m-%d}" if ends else ""
            by = key["revoked_by"] if key["revoked_at"] else None
            typer.echo(
                f"{key['name']:24} {key['role']:14} {', '.join(key['scopes'] or ['all'])}"
                f" made by {key['created_by'] or '?'} {state}{f' by {by}' if by else ''}".rstrip()
            )


@key_app.command("revoke")
def key_revoke(name: str) -> None:
    """End a key at once."""
    from oms_ops.access import keys
    from oms_ops.database import run

    by = _actor()
    run(_engine(), lambda c: keys.revoke(c, name, by))
    typer.echo(f"revoked: {name}")


@warehouse_app.command("put")
def warehouse_put(
    code: str,
    name: Annotated[str, typer.Option()],
    city: Annotated[str, typer.Option()],
    country: Annotated[str, typer.Option(help="US, DE, ...")],
    region: Annotated[str, typer.Option(help="State or province, as addresses have it.")] = "",
    postal_code: Annotated[str, typer.Option()] = "",
    line1: Annotated[str, typer.Option()] = "",
    latitude: Annotated[float | None, typer.Option(help="Degrees, for distances.")] = None,
    longitude: Annotated[float | None, typer.Option()] = None,
    rank: Annotated[int, typer.Option(help="Smaller ones are preferred, all else alike.")] = 100,
    active: Annotated[bool, typer.Option("--active/--closed")] = True,
) -> None:
    """Create a warehouse, or change it to this; one that is not empty cannot be closed."""
    from oms_ops.database import run
    from oms_ops.stock import warehouses

    wanted = warehouses.parse(
        {
            "name": name, "line1": line1, "city": city, "region": region,
            "postal_code": postal_code, "country": country, "latitude": latitude,
            "longitude": longitude, "rank": rank, "is_active": active,
        }
    )  # fmt: skip
    actor = _actor()
    shown = run(_engine(), lambda c: warehouses.put(c, actor, warehouses.parse_code(code), wanted))
    typer.echo(f"{shown['code']}: version {shown['version']}")


@warehouse_app.command("list")
def warehouse_list() -> None:
    """List the warehouses, the closed ones too."""
    from oms_ops.database import reading
    from oms_ops.stock import warehouses

    with reading(_engine()) as connection:
        for each in warehouses.listing(connection, _actor()):
            state = "" if each["is_active"] else " closed"
            place = f"{each['city']}, {each['country']}"
            typer.echo(f"{each['code']:12} rank {each['rank']:<4} {each['name']}, {place}{state}")


@carriers_app.command("list")
def carriers_list() -> None:
    """List the carriers: how each is spoken to, and what waits."""
    from oms_ops.database import reading
    from oms_ops.fulfilment.carriers import registry

    with reading(_engine()) as connection:
        for code, rule in sorted(registry.carriers(connection).items()):
            known = rule.adapter in registry.ADAPTERS
            state = registry.open_carrier(connection, code).state() if known else {"adapter": "?"}
            told = ", ".join(f"{name}: {value}" for name, value in state.items())
            typer.echo(f"{code:16} {rule.adapter:8} {told}".rstrip())


@carriers_app.command("sync")
def carriers_sync(
    carrier: Annotated[str | None, typer.Argument(help="Only this one.")] = None,
) -> None:
    """Take what carriers have sent; exit status 1 if a row was not taken or a carrier failed."""
    from oms_ops.fulfilment.carriers import events

    sound = True
    for done in events.sync(_engine(), carrier, by=_actor()):
        again = f", {done.asked_again} labels asked for again" if done.asked_again else ""
        typer.echo(
            f"{done.carrier}: {'failed' if done.failed else f'{done.messages} messages{again}'}"
        )
        for name, fault in done.faults:
            typer.echo(f"  {name} row {fault.row}: {fault.code}: {fault.message}", err=True)
        sound = sound and not (done.failed or done.faults)
    if not sound:
        raise typer.Exit(1)


@rules_app.command("show")
def rules_show() -> None:
    """Print the rules in force as JSON."""
    from oms_ops.database import reading
    from oms_ops.rules import store

    with reading(_engine()) as connection:
        typer.echo(store.show(connection, _actor()).rules.model_dump_json(indent=2))


@rules_app.command("check")
def rules_check(file: Path) -> None:
    """Check a JSON or TOML file of rules; print every bad field, and what will have no effect."""
    from oms_ops.payments.gateways.registry import problem
    from oms_ops.rules import advice, store
    from oms_ops.rules.files import read

    rules = store.parse(read(file))
    for warning in advice.warnings(rules, _warehouses(), problem):
        typer.echo(f"warning: {warning.field}: {warning.code}: {warning.message}", err=True)
    typer.echo("the rules are sound")


def _warehouses() -> list[str] | None:
    """Return the codes of the active warehouses; None where there is no database to ask yet."""
    from sqlalchemy.exc import SQLAlchemyError

    from oms_ops.database import reading
    from oms_ops.orders import sites

    engine = _engine()
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).exists():
        # To connect would create it.
        return None
    try:
        with reading(engine) as connection:
            return [site.code for site in sites.active(connection)]
    except SQLAlchemyError:
        return None


@rules_app.command("publish")
def rules_publish(file: Path, note: str = "") -> None:
    """Put a JSON or TOML file of rules in force."""
    from oms_ops.database import run
    from oms_ops.rules import store
    from oms_ops.rules.files import read

    document, actor = read(file), _actor()
    version = run(_engine(), lambda c: store.publish(c, actor, document, note))
    typer.echo(f"in force: version {version}")


@routing_app.command("what-if")
def routing_what_if(
    rules: Annotated[Path, typer.Option(help="JSON or TOML: the rules' parts that change.")],
    month: Annotated[
        str | None, typer.Option(help="2026-10; the last whole one if not said.")
    ] = None,
    days: Annotated[int | None, typer.Option(help="The last so many days instead.")] = None,
    split: Annotated[
        bool | None, typer.Option("--split/--no-split", help="Suppose that all orders may (not).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it all as JSON.")] = False,
) -> None:
    """Replay a period's orders under changed rules; nothing is written."""
    import json

    from oms_ops.database import reading
    from oms_ops.orders import console
    from oms_ops.orders.whatif import what_if
    from oms_ops.rules.files import read

    changes = read(rules)
    with reading(_engine()) as connection:
        answer = what_if(connection, _actor(), changes, month=month, days=days, may_split=split)
    typer.echo(json.dumps(answer, indent=2)) if as_json else console.show(answer)


@routing_app.command("reroute")
def routing_reroute(
    shipments: Annotated[list[str], typer.Argument(help="SH-10000001 ...")],
    reason: Annotated[str, typer.Option(help="Why; it stands on the orders.")],
    exclude: Annotated[list[str] | None, typer.Option(help="A warehouse that may not.")] = None,
    to: Annotated[str | None, typer.Option(help="The warehouse that must.")] = None,
) -> None:
    """Send shipments that nobody picks yet from other warehouses."""
    from oms_ops.database import run
    from oms_ops.orders import affected
    from oms_ops.orders.reroute import reroute

    actor = _actor()

    def work(connection: Connection) -> list[dict[str, object]]:
        ids = affected.shipments_of_numbers(connection, shipments)
        orders = reroute(connection, actor, ids, exclude=exclude or (), to=to, reason=reason)
        return affected.placement(connection, orders)

    for row in run(_engine(), work):
        typer.echo(
            f"{row['order']} line {row['line_no']}: {row['quantity']} {row['sku']}"
            f" {row['status']} at {row['warehouse']} {row['shipment'] or ''}".rstrip()
        )


@payments_app.command("attention")
def payments_attention() -> None:
    """List what of the money needs a person; exit status 1 if something does."""
    from oms_ops.access.actor import SYSTEM
    from oms_ops.database import reading
    from oms_ops.orders import uncollected

    with reading(_engine()) as connection:
        found = uncollected.listing(connection, SYSTEM)
    for each in found:
        about = [
            each["order"] or "",
            f"payment {each['payment']}" if each["payment"] else "",
            f"operation {each['operation']}" if each["operation"] else "",
            f"message {each['message']}" if each["message"] else "",
            f"{each['amount']} {each['currency']}" if each["amount"] else "",
        ]
        typer.echo(f"{each['kind']}: {', '.join(filter(None, about))}: {each['problem'] or ''}")
        typer.echo(f"  {each['how']}")
    if found:
        raise typer.Exit(1)


@payments_app.command("work")
def payments_work() -> None:
    """Fold what gateways have told and ask them what is due, once."""
    from oms_ops.orders import collecting

    engine = _engine()
    heard, settled = collecting.hear(engine), collecting.perform(engine)
    typer.echo(f"{heard} messages looked at, {settled} operations settled")


@app.command()
def serve(
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes; each may use a core of its own.")
    ] = 1,
    access_log: Annotated[bool, typer.Option(help="A line for each request.")] = False,
) -> None:
    """Serve the API."""
    import uvicorn

    uvicorn.run(
        "oms_ops.api.serving:application",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        log_level="info",
        access_log=access_log,
    )


@app.command()
def worker(
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between rounds.")] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="One round, then end.")] = False,
) -> None:
    """Deliver messages, expire holds, renew promises, hear of carriers, again and again."""
    import logging
    import signal
    import threading

    from oms_ops import worker as tasks

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if once:
        for name, count in tasks.work_once(_engine()).items():
            typer.echo(f"{name}: {'failed' if count is None else count}")
        return
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    tasks.work(_engine(), every=every, stop=stop)


@demo_app.command("load")
def demo_load(
    full: Annotated[bool, typer.Option("--full", help="All 1,469,307 lines.")] = False,
) -> None:
    """Load real orders through the write path; a second run changes nothing."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from oms_ops.demo.load import load
    from oms_ops.setup import init as initialise

    engine = _engine()
    initialise(engine)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns) as bars:
        task = bars.add_task("loading days", total=None)
        done = load(
            engine,
            full=full,
            progress=lambda day, days: bars.update(task, completed=day, total=days),
        )
        if not done.days:
            bars.update(task, visible=False)
    if done.days:
        typer.echo(
            f"loaded {done.orders:,} orders with {done.lines:,} lines over {done.days} days,"
            f" {done.rejected:,} refused"
        )
    else:
        typer.echo("the demo is loaded already; nothing changed")


@app.command("import")
def import_file(
    kind: Annotated[str, typer.Argument(help="orders, online-retail, ...: docs/importing.md")],
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    mapping: Annotated[Path | None, typer.Option(help="Columns and formats, as TOML.")] = None,
    channel: Annotated[str | None, typer.Option(help="The channel of all its orders.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the rejected rows here.")] = None,
) -> None:
    """Import a file: the good rows are taken, the bad ones reported with their reasons."""
    from oms_ops.exchange import console, files
    from oms_ops.exchange.mapping import Mapping, load
    from oms_ops.setup import init as initialise

    columns = load(mapping) if mapping else Mapping()
    if channel:
        columns = columns.with_constants({"channel": channel})
    engine = _engine()
    if files.kind_of(kind).founds:
        initialise(engine)
    bars, told = console.bar("importing")
    with bars:
        done = files.import_file(engine, _actor(), kind, file, columns, told)
    console.show(done)
    if report:
        files.save_report(done, report)
    if not done.complete:
        raise typer.Exit(1)


_MESSAGE = typer.Argument(help="The message's id, as `oms inbox list` shows it.")
_SAID = typer.Option(help="What is to be remembered of it.")


@inbox_app.command("list")
def inbox_list() -> None:
    """List the messages that nothing could be made of; exit status 1 if there are some."""
    from oms_ops.exchange import inbox

    found = inbox.listing(_engine(), _actor(), status="failed", limit=200)["data"]
    for each in found:
        problem = each["problem"] or {}
        codes = ", ".join(str(error["code"]) for error in problem.get("errors", []))
        typer.echo(
            f"{each['id']}: {each['source']} {each['topic']} {each['received_at']}:"
            f" {problem.get('detail')} {f'({codes})' if codes else ''}".rstrip()
        )
    if found:
        raise typer.Exit(1)


@inbox_app.command("dismiss")
def inbox_dismiss(message_id: Annotated[int, _MESSAGE], note: Annotated[str, _SAID] = "") -> None:
    """Put a failed message aside: it is not tried again."""
    from oms_ops.exchange import decisions

    done = decisions.dismiss(_engine(), _actor(), message_id, note)
    typer.echo(f"message {done.id}: {done.status}, by {done.settled_by}")


@inbox_app.command("accept")
def inbox_accept(message_id: Annotated[int, _MESSAGE], note: Annotated[str, _SAID] = "") -> None:
    """Know an order that differs by what the message says; the order here stays as it is."""
    from oms_ops.exchange import decisions

    done = decisions.accept(_engine(), _actor(), message_id, note)
    typer.echo(f"message {done.id}: {done.status}, by {done.settled_by}")
    if not done.is_done:
        raise typer.Exit(1)


@feed_app.command("status")
def feed_status() -> None:
    """List the readers of the feed and how far each is behind."""
    from oms_ops.database import reading
    from oms_ops.feed import consumers, epoch, pruning

    with reading(_engine()) as connection:
        typer.echo(f"epoch {epoch.current(connection)}")
        typer.echo(f"pruned up to {pruning.pruned_upto(connection)}")
        behind = consumers.lags(connection)
        for reader in consumers.listing(connection):
            waits = behind[reader.name]
            typer.echo(
                f"{reader.name}: at {reader.cursor}, {waits.rows:,} changes behind,"
                f" the oldest {waits.seconds:,.0f} s old"
            )


@feed_app.command("new-epoch")
def feed_new_epoch() -> None:
    """Begin a new epoch: once after every restore, before anybody writes."""
    from oms_ops.database import run
    from oms_ops.feed import epoch

    actor = _actor()
    typer.echo(f"epoch {run(_engine(), lambda c: epoch.begin(c, actor))} has begun")


@feed_app.command("prune")
def feed_prune(
    keep_days: Annotated[int, typer.Option(min=2, help="Younger changes stay in any case.")],
) -> None:
    """Delete old changes that every reader has; an order's history then begins later."""
    from oms_ops.database import run
    from oms_ops.feed import pruning

    actor, engine, keep, done = _actor(), _engine(), timedelta(days=keep_days), 0
    while count := run(engine, lambda c: pruning.prune(c, actor, keep)):
        done += count
    typer.echo(f"{done:,} changes deleted")


@feed_app.command("forget")
def feed_forget(reader: str) -> None:
    """Forget a reader that will not come back, so that the log need not wait for it."""
    from oms_ops.database import run
    from oms_ops.errors import NotFound
    from oms_ops.feed import consumers

    if not run(_engine(), lambda c: consumers.forget(c, reader)):
        raise NotFound(f"There is no reader {reader!r}.")
    typer.echo(f"forgotten: {reader}")


@inbox_app.command("retry")
def inbox_retry() -> None:
    """Try again what could not be made of the messages received; exit status 1 if some fail."""
    from oms_ops.exchange import inbox

    tried = inbox.retry(_engine(), _actor())
    failed = [message for message in tried if not message.is_done]
    typer.echo(f"{len(tried)} tried, {len(tried) - len(failed)} done, {len(failed)} failed")
    for message in failed:
        problem = message.problem or {}
        typer.echo(f"{message.source} {message.topic}: {problem.get('detail')}", err=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def reconcile() -> None:
    """Check that the ledgers and what is derived from them agree; exit status 1 if they do not."""
    from oms_ops.reconcile import reconcile as check

    failed = False
    for finding in check(_engine()):
        failed |= finding.count > 0
        typer.echo(f"{'FAIL' if finding.count else 'ok  '} {finding.name}: {finding.count} wrong")
    if failed:
        raise typer.Exit(1)


@app.command()
def doctor() -> None:
    """Check this installation: settings, database, schema, feed."""
    from oms_ops.doctor import examine

    failed = False
    for check in examine():
        failed |= not check.ok
        typer.echo(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}")
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
