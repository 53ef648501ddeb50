## What the queue works on: imports, tags, deletions, templates, suppressions, people, statistics
