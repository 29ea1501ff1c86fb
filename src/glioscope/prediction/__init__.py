"""From prepared voxels to a mask on the patient's own grid."""
