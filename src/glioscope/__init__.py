"""glioscope: brain-tumour MRI from a folder of scans to a measured tumour."""
