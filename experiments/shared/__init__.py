"""Settings, routes, tables and verdicts that families of scripts share."""
