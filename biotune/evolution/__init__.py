"""The search: BioTune's operators on a DEAP toolbox and the generation loop. The only folder that knows DEAP; no torch."""

from biotune.evolution.loop import Candidate, Evaluate, Generation, evolve, most_candidates, most_evaluations

__all__ = ["Candidate", "Evaluate", "Generation", "evolve", "most_candidates", "most_evaluations"]
