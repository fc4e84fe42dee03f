"""`foedus privacy`: what privacy costs, what was spent, and what may be."""

from __future__ import annotations

import typer

from foedus.cli.privacy_budget import set_budget, show_budgets
from foedus.cli.privacy_ledger import ledger
from foedus.cli.privacy_plan import plan

privacy = typer.Typer(no_args_is_help=True, help="See what privacy costs, what was spent of it, and set budgets.")
privacy.command()(plan)
privacy.command()(ledger)

budget = typer.Typer(no_args_is_help=True, help="Set and show how much privacy runs may spend on a participant's data.")
budget.command("set")(set_budget)
budget.command("show")(show_budgets)
privacy.add_typer(budget, name="budget")
