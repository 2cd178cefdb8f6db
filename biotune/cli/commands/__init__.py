"""Commands that show or use something without a composed config. Import no Hydra."""
