"""Many questions -> metrics. Data in, data out; nothing is drawn or printed here."""
