"""Speed, memory and quality, against peers in the same run. `make bench` runs those that need no other data."""
