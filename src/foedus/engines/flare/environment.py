"""What FLARE's processes are started with."""

LINK = "FOEDUS_LINK"  # the folder of local sockets by which jobs reach the coordinator, or the participant
STARTER = "FOEDUS_STARTER"  # the number of the process that one ends with: its own parent, if that still runs
# FLARE starts some hundred threads for each site, and each would keep memory of its own from what it once carried.
SPARING = {"MALLOC_ARENA_MAX": "1"}
