"""All base calls."""

import api_curves
import api_networks
import api_objects
import api_pairs
import api_routes
import api_theory
from base_calls import Call


def calls() -> list[Call]:
    """Returns a call of every public function that is tried."""
    parts = api_theory, api_objects, api_routes, api_networks, api_curves, api_pairs
    return [call for part in parts for call in part.calls()]
