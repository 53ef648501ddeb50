//! What the test harness says at its end, summed up over all its runs.

/// The sum of the harness's closing lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    /// The names of the failed tests, in the order in which they failed.
    pub(crate) failures: Vec<String>,
}

impl Summary {
    /// Takes in one line of output, which may be coloured.
    pub(crate) fn line(&mut self, line: &str) {
        let plain = without_colours(line);
        let plain = plain.trim();
        if let Some(counts) = plain.strip_prefix("test result: ") {
            // "ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s"
            let count = |what: &str| {
                let mut parts = counts.split([';', '.']).map(str::trim);
                parts.find_map(|part| part.strip_suffix(what)?.trim().parse().ok()).unwrap_or(0)
            };
            self.passed += count("passed");
            self.failed += count("failed");
            self.ignored += count("ignored");
        } else if let Some(name) = plain.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        }
    }
}

/// The line without the terminal's escape sequences: `ESC [ … letter`, and `ESC ( B`, which often goes with a reset.
fn without_colours(line: &str) -> String {
    let line = line.replace("\u{1b}(B", "");
    let mut parts = line.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |at| at + 1);
        plain.push_str(part.get(end..).unwrap_or_default());
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_summed_up() {
        let mut summary = Summary::default();
        for line in [
            "running 4 tests",
            "test one ... ok",
            "test module::two ... FAILED",
            "test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 5 filtered out; finished in 0.50s",
            "test \u{1b}[1mthree\u{1b}[0m ... \u{1b}[31mFAILED\u{1b}(B\u{1b}[m",
            "test result: \u{1b}[32mok\u{1b}(B\u{1b}[m. 40 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
            "a test of mine said: 7 passed; 7 failed",
        ] {
            summary.line(line);
        }
        let failures = vec!["module::two".to_owned(), "three".to_owned()];
        assert_eq!(summary, Summary { passed: 42, failed: 1, ignored: 1, failures });
    }
}
