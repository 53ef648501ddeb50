## The queue: jobs, operations, workers, senders, the system
