//! The filter line of a list: `status:failed type:send text:"summer sale"`. It stands in the address as it is written.

use crate::fault::Fault;
use crate::guard::encoded;
use std::fmt;

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    key: String,
    value: String,
}

/// The conditions of a line; all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    terms: Vec<Term>,
}

/// A condition as it is shown: what it says, and the address of the list without it.
pub(crate) struct Chip {
    pub(crate) text: String,
    pub(crate) without: String,
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value } = self;
        if value.is_empty() || value.contains([' ', '"', ':']) {
            return write!(f, "{key}:\"{}\"", value.replace('"', "\"\""));
        }
        write!(f, "{key}:{value}")
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, term) in self.terms.iter().enumerate() {
            write!(f, "{}{term}", if place == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl Line {
    /// Reads a line. Words without a key are one text; of two conditions with one key the later holds. A quote is written twice
    /// in quotes; one that is never closed ends with the line.
    pub(crate) fn parse(text: &str) -> Self {
        let mut line = Self::default();
        let mut rest = text.trim_start();
        let mut words = Vec::new();
        while !rest.is_empty() {
            let end = rest.find([':', ' ', '"']).unwrap_or(rest.len());
            let (key, after) = match rest[end..].strip_prefix(':') {
                Some(after) if end > 0 => (Some(rest[..end].to_ascii_lowercase()), after),
                _ => (None, rest),
            };
            let (value, after) = value(after);
            match key {
                Some(key) => line.set(&key, value),
                None => words.push(value),
            }
            rest = after.trim_start();
        }
        if !words.is_empty() {
            line.set("text", words.join(" "));
        }
        line
    }

    /// Sets a condition in the place of any other with its key. One that is empty says nothing.
    pub(crate) fn set(&mut self, key: &str, value: String) {
        self.terms.retain(|term| term.key != key);
        if !value.is_empty() {
            self.terms.push(Term { key: key.to_owned(), value });
        }
    }

    /// The value of a condition.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.key == key).map(|term| term.value.as_str())
    }

    /// Refuses a key that the list does not know.
    pub(crate) fn knows(&self, keys: &[&str]) -> Result<(), Fault> {
        match self.terms.iter().find(|term| !keys.contains(&term.key.as_str())) {
            Some(term) => Err(Fault::Bad("bad-filter", format!("{}: ({})", term.key, keys.join(":, ") + ":"))),
            None => Ok(()),
        }
    }

    /// The same, where keys that begin so are known, too.
    pub(crate) fn knows_also(&self, keys: &[&str], first: &str) -> Result<(), Fault> {
        let known = |term: &&Term| keys.contains(&term.key.as_str()) || term.key.starts_with(first);
        match self.terms.iter().find(|term| !known(term)) {
            Some(term) => Err(Fault::Bad("bad-filter", format!("{}: ({}:, {first}…:)", term.key, keys.join(":, ")))),
            None => Ok(()),
        }
    }

    /// The conditions whose keys begin so: what follows there, and the value.
    pub(crate) fn beginning<'a>(&'a self, first: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.terms.iter().filter_map(move |term| Some((term.key.strip_prefix(first)?, term.value.as_str())))
    }

    /// A value that must be one of a set, in small or capital letters.
    pub(crate) fn choice<T: Copy + ToString>(&self, key: &str, all: &[T]) -> Result<Option<T>, Fault> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let found = all.iter().find(|one| one.to_string().eq_ignore_ascii_case(text));
        found.copied().map(Some).ok_or_else(|| Fault::Bad("bad-choice", format!("{key}:{text}")))
    }

    /// The conditions, each with the address of the list without it.
    pub(crate) fn chips(&self, path: &str) -> Vec<Chip> {
        let chip = |place: usize| {
            let mut others = self.clone();
            let text = others.terms.remove(place).to_string();
            Chip { text, without: others.address(path) }
        };
        (0..self.terms.len()).map(chip).collect()
    }

    /// The address of a list with this line.
    pub(crate) fn address(&self, path: &str) -> String {
        if self.terms.is_empty() { path.to_owned() } else { format!("{path}?q={}", encoded(&self.to_string())) }
    }

    /// The address of a list with this line, ready to take another value.
    pub(crate) fn address_with(&self, path: &str) -> String {
        let address = self.address(path);
        format!("{address}{}", if self.terms.is_empty() { "?" } else { "&" })
    }
}

/// Reads a value and what stands behind it.
fn value(text: &str) -> (String, &str) {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find(' ').unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    while let Some(end) = rest.find('"') {
        value.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                value.push('"');
                rest = after;
            }
            None => return (value, rest),
        }
    }
    value.push_str(rest);
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_was_written() {
        for (text, again) in [
            ("", ""),
            ("status:failed  type:SEND", "status:failed type:SEND"),
            ("sale", "text:sale"),
            ("summer status:failed sale", "status:failed text:\"summer sale\""),
            ("Status:failed", "status:failed"),
            ("text:\"summer sale\" status:failed", "text:\"summer sale\" status:failed"),
            ("\"summer sale\"", "text:\"summer sale\""),
            ("text:\"a \"\"b\"\" c", "text:\"a \"\"b\"\" c\""),
            ("status:a status:b", "status:b"),
            ("status:", ""),
            (":x", "text:\":x\""),
            ("text:\"12:30\"", "text:\"12:30\""),
            ("促销 status:failed", "status:failed text:促销"),
        ] {
            let line = Line::parse(text);
            assert_eq!(line.to_string(), again, "{text}");
            assert_eq!(Line::parse(&line.to_string()), line, "{text}");
        }
    }

    #[test]
    fn a_chip_leads_to_the_list_without_it() {
        let line = Line::parse("status:failed type:send");
        let chips: Vec<_> = line.chips("/console/batches").into_iter().map(|chip| (chip.text, chip.without)).collect();
        let wanted =
            [("status:failed", "/console/batches?q=type%3Asend"), ("type:send", "/console/batches?q=status%3Afailed")];
        assert_eq!(chips, wanted.map(|(text, without)| (text.to_owned(), without.to_owned())));
        assert!(line.knows(&["status", "type"]).is_ok() && line.knows(&["status"]).is_err());
    }
}
