"""`switchboard plan`: how many conversations the gate needs and when they are there, and what
training will take."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.terminal import Json, print_json
from training.cli.options import DEFAULT_CONFIG, Config, Lob, RecipePath

if TYPE_CHECKING:
    from training.recipe.recipe import Recipe

MEASURE_S = 0.3


def plan(
    lob: Lob,
    config: Config = DEFAULT_CONFIG,
    recipe: RecipePath = None,
    effect: Annotated[
        float, typer.Option(min=0.001, max=1, help="The true gain that should be shown.")
    ] = 0.05,
    days: Annotated[
        float, typer.Option(min=0.01, help="Count the conversations of so many days.")
    ] = 14.0,
    examples: Annotated[
        int, typer.Option(min=1, help="Training examples that the time is said for.")
    ] = 1000,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of such an example.")] = 300,
    json_: Json = False,
) -> None:
    """Say what the gate needs and when it is there, and what memory and time training takes."""
    import asyncio
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from serving.config import settings as server_settings
    from training.analysis import plan_run
    from training.analysis.plan import POWER, words
    from training.errors import RecipeError
    from training.recipe import recipe as recipes

    settings = server_settings.load(config)
    settings.require_lob(lob)
    loaded = recipes.load(recipe or recipes.find(lob, config))
    work = plan_run.run(lob, settings=settings, recipe=loaded, days=days, effect=effect)
    try:
        seen, needs = asyncio.run(work)
    except ValueError as exc:
        raise RecipeError(f"--effect: {exc}") from exc
    takes = _takes(settings.model, loaded, examples * tokens)
    if json_:
        found = {"pace": asdict(seen), "needs": [need.as_json() for need in needs]}
        found["training"] = takes
        print_json(found)
        return
    share = loaded.curation.holdout_share
    typer.echo(
        f"{lob}: {seen.judged} conversations judged in {days:g} days ({share:.0%} are drawn to "
        f"judge); their edit similarity varies by {seen.spread:.2f}. {seen.outside:.0%} of the "
        "answers are outside conversations: they neither teach nor judge."
    )
    table = Table("rule", "margin", "conversations", "there in")
    for need in needs:
        table.add_row(*words(need))
    Console(width=100).print(table)
    typer.echo(f"A true gain of {effect:g} is shown with probability {POWER:.0%} by so many.")
    if "unknown" in takes:
        typer.echo(f"What training takes is not known: {takes['unknown']}")
        return
    for stage in takes["stages"]:
        typer.echo(stage["words"])
        typer.echo(
            f"{examples} examples of {tokens} tokens take {stage['least_s'] / 60:.1f} min or more "
            f"({takes['flops_per_s'] / 1e9:.0f} GFLOP/s measured here; it never reaches all of it)."
        )
    typer.echo(f"Serving keeps {takes['kv_numbers_per_token']} numbers a token in its KV cache.")


def _takes(model: str, recipe: "Recipe", tokens: int) -> dict[str, Any]:
    """What each stage takes on this machine, or why that is not known."""
    from serving.adapters.artifacts import model_folder
    from serving.errors import ConfigError
    from training.errors import RecipeError
    from training.execution import footprint

    try:
        config = json.loads((model_folder(model) / "config.json").read_text())
        shape = footprint.shape(config)
        footprint.adapter_parameters(shape, recipe.lora)
    except (ConfigError, RecipeError, OSError, ValueError) as exc:
        return {"unknown": str(exc)}
    stages = []
    for name, method in recipe.stages:
        device, dtype = _device(method.device, method.dtype)
        flops = _flops(device, dtype)
        taken = footprint.footprint(shape, recipe.lora, method, dtype)
        checkpointing = method.gradient_checkpointing
        total = round(tokens * method.epochs)
        stages.append(
            {
                "stage": name,
                "weights_bytes": taken.weights,
                "adapter_bytes": taken.adapter,
                "activation_bytes": taken.activations,
                "least_s": footprint.least_seconds(
                    shape, total, flops, checkpointing=checkpointing
                ),
                "words": footprint.words(name, method, dtype, taken),
            }
        )
    return {
        "stages": stages,
        "flops_per_s": flops,
        "kv_numbers_per_token": shape.kv_numbers,
        "parameters": shape.parameters,
    }


def _device(device: str, dtype: str) -> tuple[str, str]:
    """The recipe's choice with `auto` decided as training decides it."""
    import torch

    from training.trainers import cpu

    cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
    half = cuda if dtype == "auto" else dtype == "bfloat16"
    half = half and cpu.computes_in_bfloat16(cuda=cuda)
    return "cuda" if cuda else "cpu", "bfloat16" if half else "float32"


def _flops(device: str, dtype: str) -> float:
    """Measure what the device does of floating-point operations a second, by matrix products."""
    import torch

    size = 1024
    a = torch.randn(size, size, dtype=getattr(torch, dtype), device=device)
    a @ a  # the first one sets up
    done, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < MEASURE_S:
        (a @ a).sum().item()  # waits for it
        done += 1
    return 2 * size**3 * done / passed
