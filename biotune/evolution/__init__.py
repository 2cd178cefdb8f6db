"""The search: BioTune's operators on a DEAP toolbox, and the generation loop. No other folder imports DEAP. No torch."""
