"""What `--cluster_options` may say: options of sbatch, by their names there.

What is not among them sbatch takes from its variables, such as SBATCH_RESERVATION.
"""

import re
import shlex
from typing import Any

from theory.errors import InputError, unknown

# Counts, texts, and lines of a shell, which may be several.
KNOWN: dict[str, dict[str, type]] = {
    "slurm": {
        "time": int,
        "cpus_per_task": int,
        "gpus_per_node": int,
        "array_parallelism": int,
        "signal_delay_s": int,
        **dict.fromkeys(("partition", "account", "qos", "constraint"), str),
        **dict.fromkeys(("mem", "mem_per_cpu", "mem_per_gpu", "gres"), str),
        **dict.fromkeys(("nodelist", "exclude", "dependency", "comment"), str),
        **dict.fromkeys(("mail_type", "mail_user"), str),
        "setup": list,
    },
    "local": {"time": int, "gpus_per_node": int},
}


def read(text: str, cluster: str) -> dict[str, Any]:
    """Returns the options that a text gives, as NAME=VALUE with spaces between.

    Raises:
        InputError: one is unknown there, twice there, or not what it must be.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        raise InputError(
            f"`--cluster_options` must close its quotes, got {text!r}."
        ) from None
    found: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition("=")
        name = name.removeprefix("--").replace("-", "_")
        known = KNOWN[cluster]
        if name not in known:
            raise unknown(f"option of --cluster={cluster}", name, known)
        count = known[name] is int
        if not value or (count and not re.fullmatch("[1-9][0-9]{0,8}", value)):
            rule = "a positive integer" if count else "a value"
            raise InputError(
                f"`--cluster_options` must give {name} as {name}=VALUE with {rule}, "
                f"got {word!r}."
            )
        if known[name] is list:
            found.setdefault(name, []).append(value)
        elif name in found:
            raise InputError(
                f"`--cluster_options` must give {name} once, got it more than once."
            )
        else:
            found[name] = known[name](value)
    return found
