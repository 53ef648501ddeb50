//! What every page needs to show itself: language, who reads, times and numbers.

use crate::assets::Addresses;
use crate::i18n::Language;
use crate::viewer::Viewer;
use domain::batches::{Refused, Warning};
use domain::contacts::import_file::RowError;
use domain::contacts::phone::PhoneError;
use domain::users::Permission;
use domain::{BatchId, JobKind, Lane, Timestamp};
use fluent_bundle::FluentValue;
use std::fmt::Display;

/// The surroundings of a page.
#[derive(Clone, Debug)]
pub(crate) struct Ui {
    /// The language of the page.
    pub(crate) language: Language,
    /// The nonce of this answer's policy.
    pub(crate) nonce: String,
    /// Who reads it; `None` before the sign-in.
    pub(crate) viewer: Option<Viewer>,
    /// Must come back with every change.
    pub(crate) csrf: String,
    /// The page's path, without its query.
    pub(crate) path: String,
    /// The page's path with its query, without the name of a fragment.
    pub(crate) address: String,
    /// When the page was made.
    pub(crate) now: Timestamp,
    /// The word of what was just done, for the notice on top.
    pub(crate) done: Option<&'static str>,
    /// The names of scripts and styles.
    pub(crate) assets: Addresses,
}

impl Ui {
    /// The text of a key.
    pub(crate) fn t(&self, key: &str) -> String {
        self.language.text(key, &[])
    }

    /// The text of a key whose parts follow from a state, such as `status-` and `PENDING`.
    pub(crate) fn state(&self, first: &str, state: impl Display) -> String {
        self.language.text(&format!("{first}{}", state.to_string().to_lowercase().replace('_', "-")), &[])
    }

    /// The text of a key with a number in it: `count` chooses the form, `shown` is how it is written.
    pub(crate) fn tn(&self, key: &str, count: &i64) -> String {
        let args = [("count", FluentValue::from(*count)), ("shown", FluentValue::from(self.number(count)))];
        self.language.text(key, &args)
    }

    /// The text of a key with a number and a value in it.
    pub(crate) fn tnv(&self, key: &str, count: &i64, value: &str) -> String {
        let args = [
            ("count", FluentValue::from(*count)),
            ("shown", FluentValue::from(self.number(count))),
            ("value", FluentValue::from(value)),
        ];
        self.language.text(key, &args)
    }

    /// The text of a key with a value in it.
    pub(crate) fn tv(&self, key: &str, value: &str) -> String {
        self.language.text(key, &[("value", FluentValue::from(value))])
    }

    /// A number with its thousands apart.
    pub(crate) fn number(&self, number: &i64) -> String {
        let digits = number.unsigned_abs().to_string();
        let mut text = String::from(if *number < 0 { "-" } else { "" });
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text
    }

    /// Whether the reader may.
    pub(crate) fn may(&self, permission: Permission) -> bool {
        self.viewer.as_ref().is_some_and(|viewer| viewer.may(permission))
    }

    /// The same by the permission's name.
    pub(crate) fn can(&self, permission: &str) -> bool {
        permission.parse().is_ok_and(|permission| self.may(permission))
    }

    /// The names of all that the reader may, for what is the same for all who may the same. Numbers are masked by role, and a
    /// role is its permissions.
    pub(crate) fn permissions(&self) -> String {
        let role = self.viewer.as_ref().map(|viewer| viewer.user.role.to_string()).unwrap_or_default();
        let may =
            Permission::ALL.iter().filter(|permission| self.may(**permission)).map(|permission| permission.as_str());
        format!("{role} {}", may.collect::<Vec<_>>().join(" "))
    }

    /// Whether somebody is signed in to more than a change of the password.
    pub(crate) fn is_open(&self) -> bool {
        self.viewer.as_ref().is_some_and(|viewer| !viewer.must_change())
    }

    /// Whether the reader may watch batches, and so what is live.
    pub(crate) fn watches(&self) -> bool {
        self.is_open() && self.may(Permission::BatchesRead)
    }

    /// Whether the reader may read contacts.
    pub(crate) fn reads_contacts(&self) -> bool {
        self.may(Permission::ContactsRead)
    }

    /// Whether the reader may watch the queue.
    pub(crate) fn watches_queue(&self) -> bool {
        self.may(Permission::QueuesRead)
    }

    /// A kind of job as people call it; one that only another release knows by its own name.
    pub(crate) fn kind(&self, name: &str) -> String {
        name.parse::<JobKind>().map_or_else(|_| name.to_owned(), |kind| self.state("kind-", kind))
    }

    /// A lane as people call it; one that only another release knows by its own name.
    pub(crate) fn lane(&self, name: &str) -> String {
        name.parse::<Lane>().map_or_else(|_| name.to_owned(), |lane| self.state("lane-", lane))
    }

    /// Why a batch cannot be steered so.
    pub(crate) fn refused(&self, refused: &Refused) -> String {
        self.tn(&format!("refused-{}", refused.code()), &refused.count())
    }

    /// Something that whoever sends should know; what this release has no words for, as the domain says it.
    pub(crate) fn warning(&self, warning: &Warning) -> String {
        let key = format!("warning-{}", warning.code.replace('_', "-"));
        self.language.known(&key, &[]).unwrap_or_else(|| warning.message.clone())
    }

    /// Why a recipient is left out; what this release has no words for, by its code.
    pub(crate) fn left_out(&self, reason: &str) -> String {
        let key = format!("left-out-{}", reason.replace('_', "-"));
        self.language.known(&key, &[]).unwrap_or_else(|| reason.to_owned())
    }

    /// Why a row of a file is no contact; what this release has no words for, as the domain says it.
    pub(crate) fn row_error(&self, error: &RowError) -> String {
        let key = error.reason.replace('_', "-");
        let key = if key.starts_with("phone-") { key } else { format!("row-error-{key}") };
        // A field's name has a text, a number is written as it is.
        let value = |at: usize| error.values.get(at).map_or("", String::as_str);
        let first = match value(0) {
            field @ ("name" | "source") => self.state("row-field-", field),
            other => other.to_owned(),
        };
        let args = [("first", FluentValue::from(first)), ("second", FluentValue::from(value(1)))];
        self.language.known(&key, &args).unwrap_or_else(|| error.message.clone())
    }

    /// Why a text is no phone number.
    pub(crate) fn phone_error(&self, error: PhoneError) -> String {
        self.state("", error.code())
    }

    /// Whether the reader may read the configuration.
    pub(crate) fn reads_settings(&self) -> bool {
        self.may(Permission::SettingsRead)
    }

    /// Whether the reader may steer batches.
    pub(crate) fn may_steer(&self) -> bool {
        self.may(Permission::BatchesWrite)
    }

    /// `page` for the link of the page that is shown, else nothing: `aria-current`.
    pub(crate) fn current(&self, path: &str) -> &'static str {
        let here = match path {
            "/console" => self.path == path,
            _ => self.path == path || self.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')),
        };
        if here { "page" } else { "false" }
    }

    /// Whether a page of one of these groups of the menu is shown.
    fn in_any(&self, paths: &[&str]) -> bool {
        paths.iter().any(|path| self.current(path) == "page")
    }

    /// Whether a page of the menu of campaigns is shown.
    pub(crate) fn in_campaigns(&self) -> bool {
        self.in_any(&[
            "/console/calendar",
            "/console/contacts",
            "/console/templates",
            "/console/suppressions",
            "/console/statistics",
        ])
    }

    /// Whether a page of the menu of the queue is shown.
    pub(crate) fn in_queue(&self) -> bool {
        self.in_any(&["/console/jobs", "/console/operations", "/console/workers", "/console/senders"])
    }

    /// Whether a page of the menu of settings is shown.
    pub(crate) fn in_settings(&self) -> bool {
        self.in_any(&["/console/account", "/console/password", "/console/users", "/console/audit", "/console/system"])
    }

    /// The same for a tab of a batch: what follows on its number in the path.
    pub(crate) fn tab(&self, id: &BatchId, rest: &str) -> &'static str {
        let tab = format!("/console/batches/{id}{rest}");
        let below = !rest.is_empty() && self.path.strip_prefix(&tab).is_some_and(|more| more.starts_with('/'));
        if self.path == tab || below { "page" } else { "false" }
    }

    /// The other languages' tags and names.
    pub(crate) fn languages(&self) -> Vec<(&'static str, &'static str)> {
        Language::ALL
            .into_iter()
            .filter(|language| *language != self.language)
            .map(|language| (language.tag(), language.name()))
            .collect()
    }

    /// A time as machines read it.
    pub(crate) fn machine(&self, time: &Timestamp) -> String {
        time.to_rfc3339()
    }

    /// A time as it is written where no script puts it into the reader's zone: to the second, in UTC.
    pub(crate) fn utc(&self, time: &Timestamp) -> String {
        let text = time.to_rfc3339();
        format!("{} UTC", text.get(..19).unwrap_or(&text).replace('T', " "))
    }
}

/// The surroundings of a page that nobody reads.
#[cfg(test)]
pub(crate) fn of_nobody() -> Ui {
    Ui {
        language: Language::En,
        nonce: String::new(),
        viewer: None,
        csrf: String::new(),
        path: String::new(),
        address: String::new(),
        now: Timestamp(0),
        done: None,
        assets: Addresses,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_row_fails_is_said_in_words_of_the_readers_language() {
        use domain::contacts::import_file::{ImportRow, validate_row};
        let row = |name: &str, tags: usize| ImportRow {
            line: 3,
            phone: "+60123456789".into(),
            name: Some(name.into()),
            tags: (0..tags).map(|tag| tag.to_string()).collect(),
            ..ImportRow::default()
        };
        let ui = Ui { language: Language::ZhCn, ..of_nobody() };
        for (row, said) in [
            (row(&"x".repeat(201), 0), "姓名超过 200 个字符"),
            (row("a\0b", 0), "姓名含有 NUL 字符"),
            (row("Ann", 51), "标签超过 50 个"),
            (ImportRow { phone: "62812345678.0".into(), ..row("Ann", 0) }, "是小数，不是电话号码"),
        ] {
            let error = validate_row(row, None).expect_err("it fails");
            assert_eq!(ui.row_error(&error), said);
        }
        let later = RowError::new(3, "of_a_later_release", "as it says");
        assert_eq!(ui.row_error(&later), "as it says");
    }

    #[test]
    fn thousands_are_apart() {
        let ui = Ui { path: "/console/batches/7".into(), ..of_nobody() };
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (-1_234_567, "-1,234,567")] {
            assert_eq!(ui.number(&number), text);
        }
        assert_eq!((ui.current("/console"), ui.current("/console/batches")), ("false", "page"));
        assert_eq!(ui.utc(&Timestamp(0)), "1970-01-01 00:00:00 UTC");
    }
}
