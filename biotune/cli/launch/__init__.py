"""Commands that Hydra composes a config for: checked, launched, resumed, swept. This folder alone knows Hydra."""
