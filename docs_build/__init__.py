"""What `make docs` makes the site out of `docs/` with, besides Zensical: `zensical.toml` names it."""
