"""Speed, memory and quality, against peers in the same run. `make bench` runs those that need no other data."""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
