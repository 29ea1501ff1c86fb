"""Masks against the truth: scores of cases (`scoring`) and the tables they stand in (`tables`)."""
