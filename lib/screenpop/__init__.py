"""screen_pop shows people who is calling, by an instant message, before they pick up."""

__version__ = "0.1.0"
