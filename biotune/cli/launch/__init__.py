"""Commands whose config Hydra composes: checks, launch, resume and sweeps. No other folder imports Hydra."""
