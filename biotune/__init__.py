"""biotune evolves layer schedules: which blocks of a pre-trained image classifier to fine-tune, and how fast each learns."""

from biotune.schedule import Schedule, load_schedule

__version__ = "0.1.0"
__all__ = ["Schedule", "__version__", "load_schedule"]
