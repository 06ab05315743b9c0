"""Files written whole, and the cache of arrays."""
