-- From when on every message that was taken is here: since the file was made, or since what was thrown away last.
CREATE TABLE complete (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    since INTEGER NOT NULL
) STRICT;
