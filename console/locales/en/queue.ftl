## The queue: jobs, operations, workers, senders, the system

# Jobs
jobs = Jobs
job = Job
job-number = Job { $value }
job-state = State
job-kind = Kind
job-error = Text of error
jobs-newer = { $count ->
    [one] { $shown } new job
   *[other] { $shown } new jobs
}
jobs-no-match = No job matches.
jobs-none-yet = No job matches among those that were looked at.
jobs-partial = What has no index is looked for among 5,000 jobs at a time. There are more to look at.
jobs-look-on = Look on
jobs-start = Back to the start
jobs-first = There is no job yet. Every import, send, tagging, deletion and reply makes some.
state-ready = Waiting
state-scheduled = Scheduled
state-running = At work
state-paused = Paused with its batch
state-parked = Waits for another release
state-done = Done
state-dead = Dead
state-cancelled = Cancelled
kind-expand = Audience
kind-start = Start
kind-send-chunk = Send
kind-import-chunk = Import
kind-tag-chunk = Tag
kind-delete-chunk = Delete
kind-deliver = Message
kind-probe = Probe
moment-scheduled-for = Scheduled for
moment-waits-since = Waiting since
moment-at-work-since = At work since
moment-held-since = Held since
job-chunk = Chunk { $shown }
job-in-a-row = Failures in a row
job-lease = Lease until
job-enqueued = Enqueued
job-claimed-first = Claimed for the first time
job-claimed = Claimed: attempt { $shown }
job-attempt = Attempt { $shown }
job-again = Again at
event-failed = Failed
event-timed-out = The database took too long
event-postponed = Put off
event-crashed = Its worker died
event-lease-ended = Its lease ended
event-unreadable = Could not be read
event-retried = Retried
event-cancelled = Cancelled
event-run-now = Run now
event-moved = Given another time
job-of-batch = It is a part of a batch. Steer the batch:
job-payload = What it was given
job-new-time = Another time, in the zone
job-was = Before:
act-job-retry = Retry 1 job
act-job-run = Run 1 job now
act-job-move = Set time
act-job-cancel-ask = Cancel 1 job…
act-job-cancel = Cancel 1 job
job-ask-cancel = Cancel this job?
job-ask-cancel-what = It is never done. If it carries a message, that has failed then, unless it may have left already.
job-ask-cancel-dead = It stays undone and no longer asks for anybody. Its history is kept as that of jobs that are over.
done-job-retried = The job is tried again.
done-job-cancelled = The job is cancelled.
done-job-run = The job runs now.
done-job-moved = The job has another time.
unfit-running = A worker has the job: it ends by itself, or its lease does.
unfit-over = The job is over.
unfit-dead = The job is dead: retry it, or cancel it.
unfit-not-dead = Only a dead job is retried.
unfit-due = The job may run already, and waits for a worker.
unfit-of-batch = The job is a part of a batch: steer the batch.
unfit-paused = The job's batch is paused: resume the batch.
unfit-unknown = Only another release knows the job: it goes on once that runs again.

# Workers
workers-none = No worker is here: nothing is sent, imported or deleted until one is. Start one with “paceline worker”, or “paceline serve” for everything.
workers-mixed = Workers of several releases are at work. That is fine during an upgrade; afterwards, stop those of the old one.
workers-cut = Only the 500 jobs that have been at work for the longest are shown.
worker-version = Release { $value }
worker-since = since
worker-jobs = { $count ->
    [0] nothing to do
    [one] { $shown } job at work
   *[other] { $shown } jobs at work
}
workers-drained = No worker takes jobs: what is accepted waits until one is let go on.
worker-draining = Takes no new jobs
worker-taking = Takes jobs
worker-at-once = jobs at once
worker-obeyed = since
worker-soon = within a second
worker-places = Jobs at once…
worker-too-old = This worker is of a release that takes no orders: stop it where it runs.
act-worker-drain = Drain worker
act-worker-resume = Let worker take jobs
act-worker-places = Set jobs at once
done-worker-drained = The worker takes no new jobs. It finishes what it has, and takes jobs again when it is started anew.
done-worker-resumed = The worker takes jobs again.
done-worker-changed = The worker does so many jobs at once until it ends. One that starts does as it is configured.
bad-places = “{ $value }” is no number of jobs. Write a whole number from 1 to 1,000.
worker-job-since = At work since

# Senders
senders = Senders
sender = Sender
sender-named = Sender { $value }
sender-health = Health
sender-limit = Limit
sender-use = In use
sender-today = Messages today
sender-until = until
sender-default = as configured
sender-no-limit = No limit
sender-full = In full use
sender-not-known = Portfolio, quality and warm-up are not known: no gateway tells them yet.
sender-free = Has room
sender-booked = { $count ->
    [one] booked for { $shown } second
   *[other] booked for { $shown } seconds
}
health-active = Works
health-stopped = Stopped
health-capped = Today's cap is reached
health-failing = Its gateway does not work
health-throttled = Its gateway asked it to wait
sender-users = Who uses it, and who waits
sender-users-none = No batch under way leaves from this sender.
sender-since = Since
sender-next = Next look
sender-singles = Single messages that wait
sender-singles-none = No reply or other single message waits for this sender.
sender-singles-count = { $count ->
    [one] { $shown } message waits
   *[other] { $shown } messages wait
}
sender-singles-least = At least { $shown } messages wait
sender-singles-since = the longest since
sender-single-turn = Its turn
sender-new-limit = Messages a minute; empty for the configured limit
act-sender-pause = Stop sender
act-sender-resume = Resume sender
act-sender-pace = Set limit
done-sender-paused = The sender is stopped. Nothing leaves from it.
done-sender-resumed = The sender goes on.
done-sender-paced = The limit is set.
bad-sender-rate = “{ $value }” is no limit. Write a whole number from 1 to 6,000,000, or nothing.

# The overview
lanes-counted = Counted
look-dead = See the dead jobs
look-sender = See the sender
need-scheduler = { $count ->
    [0] No scheduler has looked at the queue for half a minute: schedules, retries and rescues wait for one. Is one running?{ $value }
    [one] No scheduler has looked at the queue for { $shown } minute: schedules, retries and rescues wait for one. Is one running?{ $value }
   *[other] No scheduler has looked at the queue for { $shown } minutes: schedules, retries and rescues wait for one. Is one running?{ $value }
}
need-mixed = Releases { $value } run at the same time. That is fine during an upgrade; afterwards, stop what is left of the old one.
need-disk = The disk of data_dir is { $shown }% full. When it is full nothing is accepted any more: make room.{ $value }
history = How it was
span-1h = 1 hour
span-24h = 24 hours
span-7d = 7 days
plot-decided = Recipients and rows a minute
plot-waiting = Jobs waiting
plot-behind = Seconds behind
plot-jobs = Jobs a minute
plot-ended = Ended
plot-died = Died
plot-most = up to
plot-figures = Show the figures
kind-operation = Operation

# Operations
operations = Operations
operation = Operation
operation-number = Operation { $value }
operations-none = Nothing was done to many jobs or batches at once yet. Choose dead jobs, or those that wait, and act on all that match:
operation-all-jobs-retry = Retry all that match…
operation-all-jobs-cancel = Cancel all that match…
operation-all-jobs-run = Run all that match now…
operation-ask-jobs-retry = Retry all jobs that match?
operation-ask-jobs-cancel = Cancel all jobs that match?
operation-ask-jobs-run = Run all jobs that match now?
operation-do-jobs-retry = { $count ->
    [one] Retry { $shown } job
   *[other] Retry { $shown } jobs
}
operation-do-jobs-cancel = { $count ->
    [one] Cancel { $shown } job
   *[other] Cancel { $shown } jobs
}
operation-do-jobs-run = { $count ->
    [one] Run { $shown } job now
   *[other] Run { $shown } jobs now
}
operation-fit-jobs = { $count ->
    [one] { $shown } job
   *[other] { $shown } jobs
}
operation-fit-jobs-least = At least { $shown } jobs
operation-all-batches = All that match:
operation-all-batches-pause = Pause…
operation-all-batches-resume = Resume…
operation-all-batches-cancel = Cancel…
operation-ask-batches-pause = Pause all batches that match?
operation-ask-batches-resume = Resume all batches that match?
operation-ask-batches-cancel = Cancel all batches that match?
operation-fit-batches = { $count ->
    [one] { $shown } batch matches
   *[other] { $shown } batches match
}
operation-fit-batches-least = { $count ->
    [one] { $shown } batch matches at least
   *[other] { $shown } batches match at least
}
operation-do-batches-pause = { $count ->
    [one] Pause { $shown } batch
   *[other] Pause { $shown } batches
}
operation-do-batches-resume = { $count ->
    [one] Resume { $shown } batch
   *[other] Resume { $shown } batches
}
operation-do-batches-cancel = { $count ->
    [one] Cancel { $shown } batch
   *[other] Cancel { $shown } batches
}
operation-empty = Filter the list first: without a filter nothing is meant, not everything.{ $value }
operation-left-out = Left out, and why:
operation-how = It begins 10 seconds after the button and can be taken back until then. Only what is there now is meant; what has changed by its turn is skipped.
operation-rate = Jobs a minute; empty for as many as it can
operation-type = To be sure, type { $shown }
operation-mistyped = Nothing was done: that is not the number of those that match now. It is shown below.
operation-samples = Some of them
operation-act-retry = Retry
operation-act-cancel = Cancel
operation-act-run = Run now
operation-act-pause = Pause
operation-act-resume = Resume
operation-target = Done to what
operation-target-jobs = Jobs
operation-target-batches = Batches
operation-status-waiting = Begins soon
operation-status-running = Under way
operation-status-stopped = Stopped
operation-status-undone = Taken back
operation-status-done = Done
operation-begins = It begins at
operation-dead = Its own job died, so it stands still. Retry that job, or stop the operation:
operation-matched = Matched
operation-done = Done to
operation-skipped = Skipped
operation-no-rate = As fast as it can
operation-per-minute = { $shown } jobs a minute
operation-by = Asked for by
operation-results = One by one
operation-results-none = Nothing was done yet.
operation-result = Result
operation-item-done = Done
operation-item-changed = It had changed meanwhile.
operation-too-late = It has begun, or is over.
act-operation-stop = Stop operation
done-operation-undone = The operation is taken back. Nothing was done.
done-operation-stopped = The operation is stopped. What it did stays.

# The system
system = System
system-version = This process
system-scheduler = Scheduler
system-checks = Checks
system-part = Part
system-found = Found
system-fine = Fine
system-wrong = Wrong
examination = All checks
examination-what = They read the whole ledger and compare it with the gateway's store, id by id: that may take minutes. It is what “paceline doctor” does, as a job.
examination-dead = Its job died, so it stands still. Retry that job:
examination-waits = Waits for a worker
examination-looks-at = Looks at
examination-fine = Nothing is wrong
examination-wrong = { $count ->
    [one] { $shown } thing is wrong
   *[other] { $shown } things are wrong
}
examination-compared = { $count ->
    [one] { $shown } message compared
   *[other] { $shown } messages compared
}
examination-asked = asked for
act-examine = Run all checks
kind-examination = Examination
system-settings = Configuration of this process
system-settings-all = Show all values
system-settings-set = Show only what was set
system-key = Key
system-value = Value
system-source = From
system-migrations = Steps of the schema
kind-cancel = Cancel

# Acts on a row
acts = Acts
acts-of-batch = Acts on batch { $value }
acts-of-operation = Acts on operation { $value }
acts-of-sender = Acts on sender { $value }
acts-of-job = Acts on job { $value }
select-job = Choose job { $value }
selected-job-retry = Retry the chosen jobs…
selected-job-run = Run the chosen jobs now…
selected-job-cancel = Cancel the chosen jobs…
row-job-retry = Retry 1 job
row-job-run = Run 1 job now
row-job-cancel = Cancel 1 job…
row-batch-pause = Pause batch
row-batch-resume = Resume batch
row-batch-cancel = Cancel batch…
row-batch-retry = Retry what failed…
