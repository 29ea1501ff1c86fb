"""From a case to network input: canonical axes, crop to the head, normalise, one grid."""
