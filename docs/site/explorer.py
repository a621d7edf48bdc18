"""The tables of the explorer as a script: a page from a file may load nothing else."""

import pathlib

from mkdocs.structure.files import File

TABLES = pathlib.Path(__file__).with_name("explorer_tables.json")


def on_config(config):
    """Adds the page to the navigation."""
    config.nav.insert(1, {"Explorer": "explorer.md"})
    return config


def on_files(files, config):
    """Adds the script, in place of the tables."""
    content = f"window.explorerTables = {TABLES.read_text('utf-8').strip()};\n"
    files.append(File.generated(config, "site/explorer_tables.js", content=content))
    return files
