# Frame
skip = Skip to the content
nav = Pages
menu = Menu
menu-campaigns = Campaigns
menu-queue = Queue
menu-settings = Settings
overview = Overview
batches = Batches
account = Account
find = Batch, number, name or message
find-go = Go
sign-out = Sign out
live-lost = The connection is lost; what you see is as of
request-id = Request { $value }

# Signing in
sign-in = Sign in
sign-in-wrong = The address or the password is wrong.
sign-in-first = At the first start, the server says where it was started which address and which one-time password to sign in with.
email = E-mail address
password = Password
name = Name
role = Role
permissions = What you may do
sign-out-everywhere = Sign out everywhere

# Overview
needs = What needs you
needs-nothing = Nothing needs you.
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
all-batches = All batches

sample-what = Messages go to the simulator, which sends nothing to anybody. Try it with 50 made-up contacts:
act-sample = Make sample contacts and a first campaign
sample-text = Hello { "{{ name }}" }, welcome to Paceline!

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
    [one] Cancel { $shown } recipient in 10 seconds
   *[other] Cancel { $shown } recipients in 10 seconds
}
act-retry = { $count ->
    [one] Retry { $shown } failed recipient
   *[other] Retry { $shown } failed recipients
}
ask-cancel = { $count ->
    [one] Cancel the batch? { $shown } recipient has not been served.
   *[other] Cancel the batch? { $shown } recipients have not been served.
}
ask-cancel-what = You have 10 seconds to take it back. After that nothing else is started, and a cancelled batch cannot go on.
ask-keep = Keep it going
ask-retry = { $count ->
    [one] Try { $shown } failed recipient again?
   *[other] Try { $shown } failed recipients again?
}
ask-retry-what = They are tried at the batch’s pace. Look at the causes first: what failed for a reason that stays will fail again.
ask-leave = Leave it as it is
done-paused = The batch is paused.
done-resumed = The batch goes on.
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

# Added to the overview
need-dead = { $count ->
    [one] { $shown } job is dead: it will not be tried again.{ $value }
   *[other] { $shown } jobs are dead: they will not be tried again.{ $value }
}
need-parked = { $count ->
    [one] { $shown } job waits for a newer release of a worker: update the workers, and it goes on by itself.{ $value }
   *[other] { $shown } jobs wait for a newer release of a worker: update the workers, and they go on by themselves.{ $value }
}
need-worker = { $count ->
    [one] { $shown } job waits and no worker takes it: is one running?{ $value }
   *[other] { $shown } jobs wait and no worker takes them: is one running?{ $value }
}
need-failed = { $count ->
    [one] Batch { $value } failed: { $shown } recipient.
   *[other] Batch { $value } failed: { $shown } recipients.
}
need-paused = { $count ->
    [0] Batch { $value } is paused.
    [one] Batch { $value } is paused; { $shown } recipient failed.
   *[other] Batch { $value } is paused; { $shown } recipients failed.
}
need-circuit = The gateway of sender { $value } does not work. It is tried again in { $count ->
    [one] { $shown } second
   *[other] { $shown } seconds
}; its batches go on by themselves then.
look-causes = See the causes
look-batch = See the batch
workers = Workers
worker = Worker
worker-seen = Last seen
workers-idle = No worker is at work. One that shares its database with no other is shown while it works.
first-batch = There is no batch yet. Import contacts, then send to them; what is begun appears here by itself.
newer = { $count ->
    [one] { $shown } new batch
   *[other] { $shown } new batches
}
limited-by-gateway = the gateway holds it
password-change = Change the password
password-must = You signed in with a password that is good once. Choose your own; then everything else is open to you.
password-current = Present password
password-new = New password
password-again = New password again
password-rule = At least 8 characters. All your other sessions end; API keys stay.
password-wrong = The present password is wrong.
password-same = The new password is the present one. Choose another.
password-differs = The two new passwords differ. Write the same one twice.
password-short = The new password is too short. Write at least 8 characters.
password-long = The new password is too long. Write at most 256 characters.
done-password = The password is changed. Your other sessions have ended.
bad-form = The form is broken or too large.{ $value }
bad-choice = “{ $value }” is not one of the values that this can have. Choose one from the list.
bad-rate = “{ $value }” is no pace. Write a whole number from 1 to 600,000.
bad-language = “{ $value }” is not a language of the console.
error-change-password-title = The password must be changed first
error-change-password = You signed in with a password that is good once. Change it, then try again.
error-read-only-title = This console only shows
error-read-only = Nothing was done. The console is set to take no changes (console_read_only); use the API, or ask who runs it.
keys = Keys
keys-find = Find a batch, a person or a message
keys-help = Show the keys
keys-rows = Next and previous row
keys-open = Open the row
keys-close = Close
keys-where = This browser keeps it. “?” shows all keys.
keys-on = Keys of one letter are on

# One recipient
recipient-number = Recipient { $value }
holds = Why is this not sent?
hold-under-way = It is under way: the gateway has not answered yet.
hold-paused = The batch is paused. Resume it, and it goes on here.
hold-scheduled = The batch is to start
hold-retried = An attempt failed. It is tried again
hold-sender-stopped = Its sender is stopped. Let the sender go on, and it goes on here.
hold-sender-capped = Its sender has sent as many messages as it may today. It goes on
hold-gateway = The gateway does not work. The batch goes on by itself when it does; it is tried again
hold-throttled = The gateway asked the sender to wait, until
hold-pace = Those before it come first, at { $count ->
    [one] { $shown } message
   *[other] { $shown } messages
} a minute.
hold-turn = Those before it come first.
timeline = Timeline
moment-first-attempt = first attempt
moment-decided = decided
message = Message
times-in = Times are in

# A new send
new-send = New send
send-wrong = Nothing was sent. Mend this first:
send-who = To whom
send-who-tags = Contacts with tags
send-tags-any = With at least one of these tags, separated by commas
send-who-list = These contacts
send-list = Phone numbers with their country, or contacts’ ids; one a line, at most 500
send-who-all = All contacts
send-tags-none = But none with one of these tags; not for a pasted list
send-what = What
template = Template
template-none = None: the text below
send-text = Text
send-text-help = What is known of a recipient stands in double braces, with what is written where it is not known:
send-when = When and how fast
send-at = Start at; empty: now. Zone:
send-jitter = Random extra delay of each message, in seconds at most
send-check = Check it
forecast = { $count ->
    [one] { $shown } recipient would get it
   *[other] { $shown } recipients would get it
}
forecast-starts = It starts
forecast-now = 10 seconds after the button
forecast-left-out = Left out, by reason:
forecast-samples = As some of them would read it:
act-send = { $count ->
    [one] Send to { $shown } recipient
   *[other] Send to { $shown } recipients
}
send-undo = It can be cancelled before it starts.
send-given-up = Nothing came for an hour, and what had come was given up. Send it again.{ $value }
send-nobody = It would reach nobody. Choose other tags or contacts.{ $value }
send-no-text = The text is empty. Write one, or choose a template.{ $value }
send-long-text = The text is too long. It may have { $value } characters.
send-bad-text = The text cannot be read: { $value }
send-no-tags = No tag is given. Write one, or choose other contacts.{ $value }
send-list-size = { $value } contacts are pasted. Paste 1 to 500, or use tags for more.
send-unknown = These are no contacts of yours: { $value }. Import them first, or take them out.
send-past = “{ $value }” lies in the past.
send-twice = This send was made already, or is being made. Look among the batches.
bad-jitter = “{ $value }” is no delay. Write a whole number of seconds from 0 to 600.
bad-time = “{ $value }” is no time. Choose a day and a time.
bad-tag = “{ $value }” cannot be a tag.
done-sent = The send is accepted.
contact-number = contact { $value }

# Contacts
contacts = Contacts
contact = Contact
contacts-first = There is no contact yet. Import some from a file.
contacts-none = No contact matches.
contact-last = Last message
contact-open = Gets bulk messages
contact-suppressed = Gets no bulk messages since
contact-since = Contact since
contact-source = Source
contact-no-batches = No batch had this contact.
tags = Tags
tags-none = It has no tags.
conversation = Conversation
conversation-none = Nothing was written yet.
conversation-older = The last 50 messages; there are older ones.
message-in = They wrote
message-out = We wrote
bad-search = What is looked for is too long: at most { $value } characters.
