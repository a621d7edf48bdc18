"""Learning from adversarial perturbations."""
