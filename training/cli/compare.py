"""`switchboard compare`: models side by side, so that choosing one is reading a table."""

from typing import Annotated

import typer

from training.cli.options import (
    DEFAULT_CONFIG,
    DEFAULT_OUT,
    Config,
    Lob,
    Out,
    RecipePath,
    RunningOrPrivateUrl,
)


def compare(
    lob: Lob,
    models: Annotated[
        str | None,
        typer.Option(help="Names on our server, such as base,care@3. By default base and live."),
    ] = None,
    server: Annotated[
        list[str] | None,
        typer.Option(help="Another OpenAI-compatible server; repeat it, each with its --model."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="The model's name on the --server of the same place.")
    ] = None,
    price_per_hour: Annotated[
        list[float] | None,
        typer.Option(
            min=0,
            help="Price of the hardware's hour: one for all servers, or ours and then each "
            "--server's.",
        ),
    ] = None,
    price_per_mtok_in: Annotated[
        float | None,
        typer.Option(min=0, help="Price of a million prompt tokens on the other servers."),
    ] = None,
    price_per_mtok_out: Annotated[
        float | None,
        typer.Option(min=0, help="Price of a million output tokens on the other servers."),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Requests at once; the recipe's by default.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Whose hold-out to answer; by default the line's newest.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=2, help="Answer only so many held-out examples.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
    recipe: RecipePath = None,
    url: RunningOrPrivateUrl = None,
    out: Out = DEFAULT_OUT,
) -> None:
    """Let models answer the same held-out examples: quality, latency, cost per 1000 conversations.

    The API key is read from SWITCHBOARD_API_KEY: role trainer. Other servers get
    SWITCHBOARD_OTHER_API_KEY, never ours.
    """
    import asyncio

    from serving.config import settings as server_settings
    from training.analysis import compare_report, compare_run
    from training.analysis.compare import Price
    from training.analysis.compare_run import Other
    from training.recipe import recipe as recipes

    servers, names, hours = server or [], model or [], price_per_hour or []
    if len(servers) != len(names):
        raise typer.BadParameter(f"{len(servers)} --server but {len(names)} --model: pair them")
    if len(hours) not in (0, 1, 1 + len(servers)):
        raise typer.BadParameter(
            f"{len(hours)} --price-per-hour for {1 + len(servers)} servers: give one, or one each"
        )
    hours = hours * (1 + len(servers)) if len(hours) == 1 else hours
    prices: list[Price | None] = [Price(per_hour=hour) for hour in hours]
    prices = prices or [None] * (1 + len(servers))
    if price_per_mtok_in is not None or price_per_mtok_out is not None:
        tokens = Price(per_mtok_in=price_per_mtok_in, per_mtok_out=price_per_mtok_out)
        prices[1:] = [tokens] * len(servers)
    rules = recipes.load(recipe or recipes.find(lob, config)).evaluation
    if concurrency is not None:
        rules = rules.model_copy(update={"concurrency": concurrency})
    from training.progress import show_steps

    show_steps(stderr=True)
    report = asyncio.run(
        compare_run.run(
            lob,
            config=config,
            settings=server_settings.load(config),
            rules=rules,
            models=[name.strip() for name in models.split(",") if name.strip()] if models else [],
            others=[
                Other(address, name, price)
                for address, name, price in zip(servers, names, prices[1:], strict=True)
            ],
            price=prices[0],
            url=url,
            dataset_id=dataset,
            limit=limit,
        )
    )
    folder = out / f"compare-{lob}"
    compare_report.write(report, folder)
    typer.echo(compare_report.markdown(report))
    typer.echo(f"Report: {folder / 'compare.html'}")
