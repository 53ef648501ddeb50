## What the campaigner plans, asks for and keeps: approvals

# Approvals
status-approval = Waits for approval
need-approval = { $count ->
    [one] Batch { $value } to { $shown } recipient waits for somebody’s approval.
   *[other] Batch { $value } to { $shown } recipients waits for somebody’s approval.
}
look-approval = Decide
approval-ask = { $count ->
    [one] Send to { $shown } recipient?
   *[other] Send to { $shown } recipients?
}
approval-what = So many need a second person. Nothing leaves before you approve it; after that it starts at once, or at its time. Look at whom it is for:
approval-note = A note, if you like
approval-reason = Why not
approval-own = It waits until somebody else approves it: nothing leaves before. You asked for it, so you cannot.
approval-waits = It waits until somebody approves it: nothing leaves before. That takes the permission
approval-approved = Approved
approval-refused = Refused
approval-pending = Waits for approval
act-approve = { $count ->
    [one] Approve sending to { $shown } recipient
   *[other] Approve sending to { $shown } recipients
}
act-refuse = { $count ->
    [one] Refuse sending to { $shown } recipient
   *[other] Refuse sending to { $shown } recipients
}
done-approved = The send is approved.
done-refused = The send is refused: nothing of it leaves.
did-batch-approve = approved
did-batch-refuse = refused
hold-approval = A second person has to approve the batch first.
error-own-title = This is for somebody else
error-own = You asked for this batch: somebody else has to approve or refuse it.
bad-reason = Say why, in at most { $value } characters.

# How fast a batch goes
course = Pace
course-went = Decided a minute
course-may = What it may a minute
course-decided = Decided so far
what-if = What if it went faster or slower?
what-if-rate = Messages a minute
what-if-ask = Tell me
what-if-at = { $count ->
    [one] At { $shown } message a minute
   *[other] At { $shown } messages a minute
}
what-if-ends = it ends at
what-if-unknown = nothing of ours says when it ends
what-if-set = { $count ->
    [one] Set the pace to { $shown } message a minute
   *[other] Set the pace to { $shown } messages a minute
}

# Views of lists
view-shared = shared
view-delete = Delete the view “{ $value }”
view-keep = Keep this view…
view-share = for all who see this list
act-keep-view = Keep the view
done-view-kept = The view is kept: it stands below the filter.
done-view-deleted = The view is deleted.
view-name = Give the view a name of at most { $value } characters.
view-line = A view needs a filter, of at most { $value } characters.
view-taken = You have a view “{ $value }” of this list already.
view-many = You have { $value } views. Delete one first.

# Drafts and tests
drafts = Drafts
draft = Draft
draft-unnamed = Without a text
drafts-none = There is no draft. What you fill in for a new send is kept here by itself until you send it.
draft-kept-at = Kept as a draft at
act-keep-draft = Keep as draft
act-delete-draft = Delete draft
done-draft-kept = The draft is kept.
done-draft-deleted = The draft is deleted.
test-numbers = Test numbers
test-numbers-what = Phone numbers that your tests go to, one a line, at most 10
act-keep-numbers = Keep the numbers
done-test-kept = The numbers are kept.
test-many = At most { $value } numbers can be kept.
act-test = { $count ->
    [one] Send a test to { $shown } number
   *[other] Send a test to { $shown } numbers
}
act-test-none = Send a test
test-where = Keep the numbers that tests go to first:
test-nobody = No number is kept for tests. Keep some under Account.{ $value }
done-tested = The test is on its way; the form is kept among the drafts.

# Contacts
contacts-filter-help = For example: 0123456 tag:vip attr.city:Berlin; a number, a part of one of 4 digits, or a part of a name
contacts-partial = Nobody else was found among the next 5,000 contacts. Look on to search further.
bad-attributes = At most { $value } attributes can be looked for, each with its name: attr.city:Berlin

# The calendar
calendar = Calendar
calendar-what = What will start by itself. Until then it can be moved, or taken off with nothing done.
calendar-drag = With a mouse, drag one to another day: it keeps its hour. By keys, use its time field.
calendar-weeks = Weeks
calendar-before = The week before
calendar-now = This week
calendar-after = The week after
calendar-file = Download for your calendar (ICS)
calendar-none = Nothing
calendar-more = More than 1,000 start in this week: the others are not shown.
calendar-change = Change…
calendar-at = Start at
calendar-recipients = { $count ->
    [one] { $shown } recipient
   *[other] { $shown } recipients
}
act-move = Move
act-unschedule = Unschedule: cancel the batch
done-moved = The batch starts at its new time.

# What is refused, and why
refused-ended = It has ended already.
refused-paused = It is paused already.
refused-not-paused = It is not paused.
refused-awaits-approval = It waits for a second person’s approval.
refused-no-approval = It does not wait for an approval, or somebody has decided.
refused-to-be-cancelled = It is to be cancelled already.
refused-not-to-be-cancelled = It is not to be cancelled, or it was meanwhile.
refused-under-way = It is still under way.
refused-cancelled = It was cancelled: what is left of it goes on as a new send to those who were never written to.
refused-nothing-failed = None of its recipients failed.
refused-no-such-cause = Nobody failed for that cause who may succeed when it is tried again.
refused-all-invalid = { $count ->
    [one] { $shown } row failed, is invalid and would fail again. Correct it and import it anew.
   *[other] { $shown } rows failed, are invalid and would fail again. Correct them and import them anew.
}
refused-all-unknown = { $count ->
    [one] { $shown } failed because there is no such contact, and would fail again.
   *[other] { $shown } failed because there are no such contacts, and would fail again.
}
refused-sends-nothing = Only a send has a pace and a time.
refused-started = It was not scheduled, or it has started.
warning-nobody = Nobody would get it.
warning-rendered-partly = The first 10,000 messages were rendered; whether all others can be is not known.
warning-rate-above-sender = The sender takes less a minute than that: its limit holds.
warning-sender-stopped = The sender is stopped: nothing leaves until somebody lets it go on.
warning-sender-cap = The sender has reached its cap for today.
warning-sender-circuit = The sender’s gateway fails at the moment: nothing leaves until it works again.
warning-sender-busy = The sender’s next free place is later than now.
warning-others-at-work = Other batches write through the same sender and share its pace.
warning-approval = So many need a second person: it waits until somebody else has approved it.
warning-batch-paused = The batch is paused: this is what happens if it is resumed now.
left-out-contact-not-found = There is no such contact
left-out-suppressed = Gets no bulk messages
left-out-contact-has-no-number = Has no phone number
left-out-duplicate = Is named twice
left-out-template-error = The text cannot be written for them
phone-empty = nothing there
phone-not-a-number = not a phone number
phone-fraction = a decimal number, not a phone number
phone-lost-digits = its last digits were lost in a spreadsheet
phone-two-numbers = more than one number
phone-unknown-country = its country’s code is missing or unknown
phone-needs-country = its country is not certain; write it with +
phone-impossible = too short or too long for its country
send-no-template = The template is gone. Choose another.{ $value }
send-no-sender = The sender is gone.{ $value }
send-remainder-taken = Batch { $value } was made of what that batch never sent.
import-unknown-field = “{ $value }” is nothing that a column can hold.
import-unknown-column = The file has no column { $value }.
import-no-phone = No column looks like a phone number. Say which one is. The columns are: { $value }
import-no-sheet = The workbook has no sheet { $value }.
import-bad-encoding = The text of the file cannot be read: { $value }
import-no-rows = The file has no rows.{ $value }
import-many-rows = The file has more than { $value } rows. Divide it.
import-bad-workbook = The file is no XLSX workbook that can be read: { $value }
