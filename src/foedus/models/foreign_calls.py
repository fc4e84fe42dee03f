"""Calls into transformers and PEFT: without their talk on the user's terminal, and with our errors.

What they would report about missing and unexpected weights is checked by foedus.models.loading instead.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr

from foedus.core.errors import MissingExtra, ModelError


@contextmanager
def quiet_transformers(hide_standard_error: bool = False) -> Iterator[None]:
    """Run the block without load reports, progress bars and notes of transformers; put them back afterwards.

    Errors still raise. hide_standard_error: also where a progress bar ignores transformers' switch,
        as when a GGUF file is read.
    """
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging

    shows_downloads = not are_progress_bars_disabled()
    verbosity, had_progress_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if shows_downloads:
        enable_progress_bars()  # a download may take minutes: only the bars for reading weights go
    try:
        with ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings())
            # PEFT, and we for the sake of transformers 5.0, use names that later versions call deprecated.
            warnings.filterwarnings("ignore", "`(is_)?gradient_checkpointing(_enable)?` is deprecated", FutureWarning)
            if hide_standard_error:
                stack.enter_context(redirect_stderr(io.StringIO()))
            yield
    finally:
        logging.set_verbosity(verbosity)
        if had_progress_bars:
            logging.enable_progress_bar()


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn what transformers raises for something that cannot be used into our errors.

    doing: what the block does, to stand after "cannot".
    """
    from huggingface_hub.errors import StrictDataclassError  # a configuration's field of a wrong type
    from safetensors import SafetensorError

    try:
        yield
    except ImportError as error:
        raise MissingExtra(f"cannot {doing}: {_first_line(error)} Install the missing library with pip") from error
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(f"cannot {doing}: {_first_line(error)}") from error
    except StrictDataclassError as error:
        raise ModelError(f"cannot {doing}: {error}") from error


def _first_line(error: BaseException) -> str:
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)
