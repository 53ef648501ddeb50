-- Who this gateway is: a name for each network that it has sent through, for as long as the file lives.
CREATE TABLE identity (
    transport TEXT PRIMARY KEY,
    name TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- What a network told at our address, as it came, until it is read. `unread`: how many of its parts could not be read;
-- absent: nobody has tried to the end. `tries`: how often the release `read_by` has begun to read it.
CREATE TABLE webhooks (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    body BLOB NOT NULL,
    kept_at INTEGER NOT NULL,
    unread INTEGER,
    read_by TEXT,
    tries INTEGER NOT NULL DEFAULT 0
) STRICT;
