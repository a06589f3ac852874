"""environments.toml → frozen values, each knowing its source."""

from gaiaops.registry.load import load
from gaiaops.registry.model import Environment, Registry, Supabase, TableGroup, Timeouts
from gaiaops.registry.settings import Setting

__all__ = ["Environment", "Registry", "Setting", "Supabase", "TableGroup", "Timeouts", "load"]
