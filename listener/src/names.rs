//! What is said of a name in a request that nothing reads: the known one that was meant, as far as that can be told.

/// The most known names that are listed.
const MAX_LISTED: usize = 20;

/// How much of a client's name is repeated, in characters.
const MAX_SHOWN: usize = 80;

/// How like a known name an unknown one must be to be taken for it, from 0 to 1.
const LIKE: f64 = 0.74;

/// What is said of a name that is not among the known ones: the nearest of them, or all if none is near.
#[must_use]
pub fn unknown<'k>(name: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(near) => format!("is not known here; did you mean {near}?"),
        None => match known.into_iter().take(MAX_LISTED).collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "is not known here".to_owned(),
            all => format!("is not known here; known are {all}"),
        },
    }
}

/// A client's name, as far as it is repeated to it.
#[must_use]
pub fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(MAX_SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if name.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// The known name that somebody may have meant.
fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let bare = |name: &str| -> String {
        name.chars().take(MAX_SHOWN).filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let meant = bare(name);
    let likeness = |known: &str| {
        let known = bare(known);
        let within = meant.len() >= 3 && known.len() >= 3 && (known.contains(&meant) || meant.contains(&known));
        strsim::jaro_winkler(&meant, &known).max(if within { LIKE } else { 0.0 })
    };
    let best = known.into_iter().map(|name| (likeness(name), name)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= LIKE).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_name_is_named() {
        let send =
            ["contactIds", "audience", "content", "templateId", "ratePerMinute", "jitterMs", "scheduleAt", "dryRun"];
        for (name, meant) in [
            ("scheduledAt", Some("scheduleAt")),
            ("schedule_at", Some("scheduleAt")),
            ("rate", Some("ratePerMinute")),
            ("dryrun", Some("dryRun")),
            ("dry_run", Some("dryRun")),
            ("contactids", Some("contactIds")),
            ("contact_id", Some("contactIds")),
            ("template", Some("templateId")),
            ("jitter", Some("jitterMs")),
            ("contents", Some("content")),
            ("xyz", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, send), meant, "{name}");
        }
        assert_eq!(unknown("Limit", ["limit", "after"]), "is not known here; did you mean limit?");
        assert_eq!(unknown("zzz", ["limit", "after"]), "is not known here; known are limit, after");
        assert_eq!(unknown("zzz", []), "is not known here");
    }

    #[test]
    fn a_name_is_repeated_no_further_than_a_line() {
        assert_eq!(shown("a\nb"), "a\u{fffd}b");
        assert_eq!(shown("ünï"), "ünï");
        assert_eq!(shown(&"x".repeat(1_000)).chars().count(), MAX_SHOWN + 1);
    }
}
