"""The search: BioTune's operators on a DEAP toolbox and the generation loop. The only folder that knows DEAP; no torch."""
