"""One function per verb, composed of the rooms below; `import glioscope` offers them."""
