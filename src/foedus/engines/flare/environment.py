"""What FLARE's processes are started with."""

LINK = "FOEDUS_LINK"  # the folder of local sockets by which jobs reach the coordinator, or the participant
