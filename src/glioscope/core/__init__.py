"""The nouns: volumes, labels, cases, data sets, plans; recipes, registries, files, errors."""
