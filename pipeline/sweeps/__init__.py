"""Many jobs: grids and searches."""
