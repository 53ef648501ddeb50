# Frame
skip = Skip to the content
nav = Pages
overview = Overview
batches = Batches
account = Account
find = Batch number
find-go = Go
sign-out = Sign out
live-lost = The connection is lost; what you see is as of
request-id = Request { $value }

# Signing in
sign-in = Sign in
sign-in-wrong = The address or the password is wrong.
sign-in-first = At the first start, the server printed the address and a one-time password where it was started.
email = E-mail address
password = Password
name = Name
role = Role
permissions = What you may do
sign-out-everywhere = Sign out everywhere

# Overview
needs = What needs you
needs-nothing = Nothing needs you.
need-dead = { $count ->
    [one] { $shown } job is dead: it will not be tried again
   *[other] { $shown } jobs are dead: they will not be tried again
}
need-paused = { $count ->
    [one] { $shown } batch is paused
   *[other] { $shown } batches are paused
}
lanes = Lanes
lane = Lane
lane-behind = Behind by
lane-waiting = Jobs waiting
lane-running = Jobs at work
lane-critical = Critical
lane-default = Default
lane-bulk = Bulk
seconds = { $shown } s
under-way = Under way
under-way-nothing = No batch is under way.
first-batch = There is no batch yet. Send the first one through the API: POST /batch/send.
all-batches = All batches

# Lists
all = All
filter = Filter
filter-clear = Clear filters
newest = Newest
older = Older
more = More
batches-no-match = No batch matches.

# A batch
batch = Batch
batch-number = Batch { $value }
type = Type
status = Status
progress = Progress
moment = When
moment-ended = ended
moment-starts = starts
moment-will-end = will end
moment-accepted = accepted
total = Recipients in all
succeeded = Succeeded
failed = Failed
skipped = Skipped
left = Not decided yet
pace = Pace
pace-none = as fast as the gateway takes it
pace-new = Messages a minute
per-minute = { $shown } a minute
limited-by-batch = set for this batch
limited-by-sender = the sender’s limit
request = The request
recipients = Recipients
failures = Failures
undo = Undo
act-pause = Pause batch
act-resume = Resume batch
act-pace = Set the pace
act-cancel-ask = Cancel batch…
act-cancel = { $count ->
    [one] Cancel { $shown } recipient
   *[other] Cancel { $shown } recipients
}
act-retry = { $count ->
    [one] Retry { $shown } failed recipient
   *[other] Retry { $shown } failed recipients
}
ask-cancel = { $count ->
    [one] Cancel the batch? { $shown } recipient has not been served.
   *[other] Cancel the batch? { $shown } recipients have not been served.
}
ask-cancel-what = What is in flight ends and is counted. Nothing else is started, and a cancelled batch cannot go on.
ask-keep = Keep it going
ask-retry = { $count ->
    [one] Try { $shown } failed recipient again?
   *[other] Try { $shown } failed recipients again?
}
ask-retry-what = They are tried at the batch’s pace. Look at the causes first: what failed for a reason that stays will fail again.
ask-leave = Leave it as it is
done-paused = The batch is paused.
done-resumed = The batch goes on.
done-cancelled = The batch is cancelled.
done-retried = The failed recipients are tried again.
done-paced = The pace is set.

# Recipients
place = Place
number = Number
attempts = Attempts
why = Why
when = Time
next-attempt = next attempt
recipients-none = No recipient matches.
cause = Cause
cause-sample = For example
cause-last = Last
failures-none = Nothing failed.

# States
status-pending = Waiting
status-scheduled = Scheduled
status-processing = Sending
status-paused = Paused
status-completed = Completed
status-failed = Failed
status-cancelled = Cancelled
type-send = Send
type-import = Import
type-tag = Tags
type-delete = Delete
item-pending = Waiting
item-sending = Sending
item-succeeded = Succeeded
item-failed = Failed
item-skipped = Skipped
item-cancelled = Cancelled
item-unknown = In doubt

# What is wrong
error-not-found-title = There is no such page
error-not-found = What you asked for is not there, or not any more. Look at the number, or begin at the overview.
error-forbidden-title = You may not see this
error-forbidden = It takes a permission that your role does not have. Ask an administrator for it:
error-sign-in-title = You are not signed in
error-sign-in = Sign in and try again.
error-forged-title = This form is out of date
error-forged = It was made before you signed in, or by another site, so nothing was done. Go back, load the page again, and repeat it.
error-method-title = This address does not take that
error-method = Nothing was done. Begin at the overview.
error-bad-title = A value cannot be taken
error-bad = Nothing was done. Mend this and try again:
error-conflict-title = That is not possible now
error-conflict = Nothing was done. Somebody may have been faster:
error-limited-title = That was too often
error-limited = Nothing was done. You may try again in
error-away-title = The database is away
error-away = Nothing was done. Try again in a moment; what was accepted is not lost.
error-ours-title = Something went wrong here
error-ours = It is our fault and is in the server’s log under the name below.
