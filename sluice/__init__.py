"""The kernel: what a contact, a job, a row's outcome and an event are. It imports nothing else of ours."""
