## What the queue works on: imports, tags, deletions, templates, suppressions, people, statistics

# Lists and their filters
filter-without = Take { $value } away
bad-filter = “{ $value }” is no filter of this list. Write one of those in brackets.
bad-day = “{ $value }” is no day. Write it as 2026-11-30.
bad-creator = Nobody has the address “{ $value }”. Write an address, a number, or creator:me.
batches-filter-help = For example: status:failed type:send creator:me text:"summer sale" after:2026-11-01 before:2026-12-01 (days of UTC)
creator = By
user-number = user { $value }
act = Act
select = Choose
select-batch = Choose batch { $value }

# Many batches
chosen = Chosen:
selected-pause = Pause the chosen batches
selected-resume = Resume the chosen batches
selected-cancel = Cancel the chosen batches…
selected-none = No batch is chosen, or too many. Choose 1 to { $value }.
selected-ended = All of these have ended: there is nothing to cancel.
selected-outcome = Outcome
selected-done-pause = Paused
selected-done-resume = Going on
selected-done-cancel = Cancelled in 10 seconds
selected-done-keep = Not cancelled
selected-count = { $count ->
    [one] ({ $shown } batch)
   *[other] ({ $shown } batches)
}
ask-cancel-many = { $count ->
    [one] Cancel { $shown } batch?
   *[other] Cancel { $shown } batches?
}
act-cancel-many = { $count ->
    [one] Cancel { $shown } batch in 10 seconds
   *[other] Cancel { $shown } batches in 10 seconds
}
ask-keep-many = Keep them going

# Acts with time to take them back
ask-cancel-flight = { $count ->
    [0] None is in flight.
    [one] { $shown } is in flight: it ends and is counted.
   *[other] { $shown } are in flight: they end and are counted.
}
cancel-at = The batch is cancelled at
cancel-keep = Take it back
done-kept = The batch goes on: it is not cancelled.
ask-retry-cause = { $count ->
    [one] Try { $shown } recipient again that failed with { $value }?
   *[other] Try { $shown } recipients again that failed with { $value }?
}

# Why is this not sent?
hold-asked-again = Nobody knows what became of its attempt. It is asked for again, under the same id,
hold-in-doubt = Nobody knows what became of its attempt, and the batch leaves that to a person. Retry the batch: the gateway is asked under the same id.
hold-suppressed = The contact wants no bulk messages: it will be skipped.
hold-no-number = The contact has no phone number: it will fail.
hold-no-contact = There is no such contact: it will fail.
hold-at-work = Worker { $value } has its part of the batch, since
hold-no-worker = No worker takes its part of the batch: is one running? It is due since
hold-job-retried = The job of its part of the batch failed. It is tried again
hold-other-release = Only another release can do its part of the batch. Update the workers, and it goes on by itself.
keys-select = Choose the row
keys-acts = To the acts of this page
