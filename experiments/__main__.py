"""What there is to run: `python -m experiments` prints one line a script, by family.

The lines are read from the sources, not imported: JAX takes seconds to load.
"""

import os
import sys

from experiments.report.questions import question

# Folder of a family: its scripts, in the order in which a reader may want them.
FAMILIES = {
    "laws": (
        *("accuracy_curve", "law_against_kernel", "activations", "logit_scatter"),
        *("agreement", "snr_scaling", "train_test_corruption", "universality"),
        *("why_not_the_kernel", "architectures", "certificate"),
    ),
    "networks/curves": (
        *("corruption_curve", "finite_size_scaling", "corrupted_tests"),
        "noise_gallery",
    ),
    "networks/inside": ("margins", "empirical_ntk"),
    "networks/mixtures": ("clean_fraction", "garbage_augmentation"),
    "networks/models": ("cnn_vs_mlp", "rbm"),
    "wrong_labels": ("cluster_noise", "early_stopping", "spectral_truncation"),
    "perturbations": ("adversarial_learning",),
}


def menu(command: str = "python -m experiments.NAME") -> str:
    """Returns the names of all scripts and what each asks, a family after the other.

    Args:
        command: what runs a script.
    """
    width = max(len(name) for names in FAMILIES.values() for name in names)
    lines = [f"{command} --help"]
    for family, names in FAMILIES.items():
        lines += ["", family]
        lines += [f"  {name:{width}}  {question(name)}" for name in names]
    return "\n".join(lines)


def show(*command: str) -> None:
    """Prints the menu."""
    try:
        print(menu(*command), flush=True)
    except BrokenPipeError:  # the reader has what it wanted, as of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    show()
