"""screen_pop: people see who is calling, as an instant message, before they pick up."""

__version__ = "0.1.0"
