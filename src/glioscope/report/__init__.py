"""What people look at: pictures of scans, plots of scores, and the one-file report."""
