-- The messages, each with its state (rules::State). `due_at`: when somebody has to look at it again; absent: nobody.
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    numeric INTEGER NOT NULL,
    sender TEXT NOT NULL,
    recipient TEXT NOT NULL,
    body TEXT NOT NULL,
    state INTEGER NOT NULL,
    due_at INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    doubt INTEGER NOT NULL DEFAULT 0,
    network_id TEXT,
    level INTEGER NOT NULL DEFAULT 0,
    code TEXT,
    detail TEXT,
    accepted_at INTEGER NOT NULL,
    sent_at INTEGER,
    ended_at INTEGER
) STRICT;
CREATE INDEX messages_due ON messages (sender, due_at, seq) WHERE due_at IS NOT NULL;
-- Whether one to the same recipient is still before another.
CREATE INDEX messages_waiting ON messages (recipient, seq) WHERE state < 2;
CREATE INDEX messages_handing ON messages (seq) WHERE state = 1;
CREATE INDEX messages_network ON messages (network_id) WHERE network_id IS NOT NULL;

-- What the backend is still to be told. `thread`: what is told in order: a message's `seq`, or a writer as a negative number.
-- Only the first of a thread has a `due_at`.
CREATE TABLE reports (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    thread INTEGER NOT NULL,
    report TEXT NOT NULL,
    due_at INTEGER,
    tries INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX reports_thread ON reports (thread, seq);
CREATE INDEX reports_due ON reports (due_at, seq) WHERE due_at IS NOT NULL;

-- What the backend will never take, with its answer.
CREATE TABLE refused (
    seq INTEGER PRIMARY KEY,
    report TEXT NOT NULL,
    status INTEGER NOT NULL,
    detail TEXT NOT NULL,
    refused_at INTEGER NOT NULL
) STRICT;

-- The numbers that send. A slot is a moment at which one message may leave, in microseconds; the day is UTC's.
CREATE TABLE senders (
    name TEXT PRIMARY KEY,
    rate_per_minute INTEGER NOT NULL,
    daily_cap INTEGER NOT NULL,
    stopped_code TEXT,
    stopped_detail TEXT,
    waits INTEGER NOT NULL DEFAULT 0,
    wait_until INTEGER NOT NULL DEFAULT 0,
    next_slot_us INTEGER NOT NULL DEFAULT 0,
    day INTEGER NOT NULL DEFAULT 0,
    used INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- What customers wrote, by the network's id: the same twice is one.
CREATE TABLE inbound (
    network_id TEXT PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What the network told of a message before it had answered for it.
CREATE TABLE orphans (
    seq INTEGER PRIMARY KEY,
    network_id TEXT NOT NULL,
    status TEXT NOT NULL,
    told_at INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX orphans_network ON orphans (network_id);
