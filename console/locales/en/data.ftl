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
selected-none = Nothing is chosen, or too much. Choose 1 to { $value }.
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

# Beginning something
new = New
new-send-what = A text or a template to many contacts, now or at a time.
new-import = Import contacts
new-import-what = From a CSV or XLSX file: its columns, a dry run with errors by line, then the import.
new-tags = Change tags
new-tags-what = Add, take away or set tags of many contacts.
new-delete = Delete contacts
new-delete-what = What is known of people goes; the numbers of statistics stay.
needs-permission = takes the permission
form-wrong = Nothing was done. Mend this first:
who-batch = Those of a batch that had this outcome
who-outcome = Outcome
bad-batch = “{ $value }” is no batch, or no outcome is chosen.

# Tags and deletions
operation-add = Add these tags
operation-remove = Take these tags away
operation-set = Set these tags; others go
tags-these = Tags, separated by commas
forecast-tags = { $count ->
    [one] { $shown } contact would change
   *[other] { $shown } contacts would change
}
forecast-delete = { $count ->
    [one] { $shown } contact would be deleted
   *[other] { $shown } contacts would be deleted
}
set-total = Named
set-unchanged = As they would become already
set-before = Tags before
set-after = Tags after
set-nothing = Nothing would change. Choose other contacts or tags.
samples = Some of them
act-tags = { $count ->
    [one] Change the tags of { $shown } contact
   *[other] Change the tags of { $shown } contacts
}
act-delete = { $count ->
    [one] Delete { $shown } contact for ever
   *[other] Delete { $shown } contacts for ever
}
delete-what = Names, numbers, attributes, tags and texts of messages are gone afterwards, and nobody can bring them back. What counts messages stays; who wants no messages is still kept from them.
delete-type = { $count ->
    [one] To delete { $shown } contact, type their number:
   *[other] To delete { $shown } contacts, type their number:
}
delete-typed = The number that was typed is not { $value }, which is how many would be deleted now. Look again and type it.
delete-undo = It starts 10 seconds later; until then it can be taken back.

# Imports
import-file = The file
import-choose = A CSV file or an XLSX workbook; choose it or drop it here
import-help = One row for each contact, with a column of phone numbers. At most 1,000,000 rows and 128 MB.
import-with = What goes with it
import-tags = Tags for all, separated by commas
import-source = Where the contacts come from
import-country = Country of numbers without one, two letters
import-merges = Take names and values of contacts that exist from the file, too
import-more = Encoding and sheet
import-encoding = Encoding of a CSV file; empty: found out
import-sheet = Sheet of a workbook; empty: the first
import-check = Check the file
import-check-again = Check again
import-plan = { $count ->
    [one] { $shown } row was read
   *[other] { $shown } rows were read
}
import-create = New contact
import-merge = Merged into one that exists
import-skip = Exists; skipped
import-fail = Would fail
import-warn = Numbers in no known range
import-columns = What each column holds
import-columns-help = Change what is wrong and check again.
import-read-as = Read as { $value }.
import-sheet-read = Sheet { $value }
field-ignore = Not read
field-phone = Phone number
field-name = Name
field-tags = Tags
field-source = Source
field-own = Value { $value }
import-rows = The first rows
import-becomes = Becomes
line = Line
values = Values
cells = Cells
import-errors = { $count ->
    [one] { $shown } row would fail
   *[other] { $shown } rows would fail
}
row-error-too-long = the { $first } is longer than { $second } characters
row-error-nul-character = the { $first } has a NUL character
row-error-bad-tag = a tag is longer than { $first } characters or has a NUL character
row-error-too-many-tags = more than { $first } tags
row-error-too-many-attributes = more than { $first } attributes
row-error-bad-attribute = an attribute is longer than { $first } characters or has a NUL character
row-error-too-many-cells = it has { $first } cells, the file has { $second } columns
row-error-no-phone-cell = it has no cell for the phone number
row-error-too-many-rows = more than { $first } rows; the rest was not read
row-error-unclosed-quote = a quote is opened and never closed
row-error-line-too-long = the line is longer than { $first } KiB
row-error-encoding = it is not { $first } text; save the file as UTF-8, or say its encoding
row-error-unreadable = the file could not be read further
row-field-name = name
row-field-source = source
import-errors-file = Download all rows that would fail
act-import = { $count ->
    [one] Import { $shown } row
   *[other] Import { $shown } rows
}
import-no-script = Without scripts the file has to be chosen again before each press.
import-no-file = No file is chosen. Choose a CSV or XLSX file.{ $value }
import-large = The file is larger than { $value } MB. Divide it.
bad-country = “{ $value }” is no country. Write its two letters, as MY.
bad-encoding = “{ $value }” is no encoding. Write one as utf-8 or gb18030, or leave it empty.

# Templates
templates = Templates
template-new = New template
templates-first = There is no template yet. A template keeps a text that is sent again and again.
templates-count = { $count ->
    [one] { $shown } template
   *[other] { $shown } templates
}
changed = Changed
earlier = Earlier
template-name-long = The name is empty or too long. It may have { $value } characters.
template-taken = Another template is called “{ $value }”. Choose another name.
template-shown = What is read
template-known = Somebody called Mei Ling
template-unknown = Somebody of whom no name is known
act-keep-template = Keep the template
ask-delete = Delete…
ask-delete-template = Delete the template “{ $value }”?
ask-delete-template-what = Batches that were accepted with it keep their text.
act-delete-template = Delete the template
done-kept-template = The template is kept.
done-deleted-template = The template is deleted.

# Suppressions
suppressions = Suppressions
suppressions-what = These numbers get no bulk messages. A batch skips them, and replies of people still reach them.
suppressions-ended = Those that ended, too
suppressions-first = Nobody has opted out. Who writes a word such as STOP appears here by themselves.
suppressions-none = This number is not suppressed.
since = Since
until = Until
reason-word = Wrote
reason-user = By a user
reason-network = Reported by the network
reason-merged = Two contacts became one
suppress = Add numbers
suppress-who = Who shall get no bulk messages
suppress-numbers = Phone numbers with their country; one a line, at most 500
act-suppress = Suppress these numbers
ask-unsuppress-button = Allow again…
ask-unsuppress = Send bulk messages to { $value } again?
ask-unsuppress-what = Do this only if the person asked for it. The trail keeps that it was ended, and by whom.
act-unsuppress = Allow bulk messages again
done-suppressed = The numbers get no bulk messages any more.
done-unsuppressed = The number gets bulk messages again.
bad-number = A number cannot be read: { $value }

# Audit
audit = Audit
audit-filter-help = For example: action:batch action:batch:cancel creator:me resource:12 after:2026-11-01 before:2026-12-01 (days of UTC)
audit-none = No record matches.
audit-what = What
audit-with = With
audit-from = From
who = Who
export-csv = Download as CSV
batch-history = History
history-none = Nobody has done anything with it.
actor-user = A user
actor-anonymous = Somebody who is not signed in
actor-gateway = A customer, through the gateway
actor-system = The system
did-batch-create = accepted
did-batch-cancel = cancelled
did-batch-cancel-ask = to be cancelled in 10 seconds
did-batch-keep = cancel taken back
did-batch-pause = paused
did-batch-resume = resumed
did-batch-update = pace, jitter or time changed
did-batch-retry = failed recipients tried again

# Statistics
statistics = Statistics
statistics-filter-help = For example: type:send status:failed days:90
statistics-processed = Recipients processed
statistics-rate = Success rate
statistics-types = By type
statistics-statuses = By status
statistics-days = { $count ->
    [one] The last { $shown } day
   *[other] The last { $shown } days
}
statistics-plot = Recipients that succeeded and failed, by the day on which their batch was accepted (UTC)
statistics-most = { $count ->
    [one] at most { $shown } recipient a day
   *[other] at most { $shown } recipients a day
}
plot-table = The same as a table
day = Day
bad-days = “{ $value }” is no number of days. Write 1 to 366.

# Users
users = Users
user-once = This password of { $value } is good for one sign-in, and is shown this once:
user-last = Last sign-in
user-blocked = Blocked
user-must-change = has not changed the first password
user-role-of = Role of { $value }
user-new = A new user
user-new-what = They get a password that is good for one sign-in, and choose their own then.
user-name = The name is empty or too long. It may have { $value } characters.
user-email = “{ $value }” is no e-mail address.
user-taken = Somebody has the address “{ $value }” already.
users-own = Nobody takes away their own rights; ask another administrator.
act-role = Change role
act-block = Block
act-unblock = Let in again
act-one-time = New one-time password
act-user = Make the user
done-user-changed = The user is changed.
role-admin = Administrator
role-supervisor = Supervisor
role-agent = Agent
role-guest = Guest
failed-rows-file = Download the failed rows with their reasons
trail = Bulk messages: the trail
trail-none = This number never opted out.
trail-began = gets none from here on
trail-ended = gets them again
unmask-why = To see the whole number, say why; it is in the audit log
act-unmask = Show the number
unmask-reason = Say why, in at most { $value } characters.
