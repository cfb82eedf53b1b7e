"""Tools: what agents can do. A tool reports through its context; it knows no log, no storage and no door."""
