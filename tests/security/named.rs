//! SECURITY.md names the test for each of its claims: so they must be there.

use std::path::Path;

/// The tests that a text names, as `file.rs: test`.
fn named(text: &str) -> Vec<(&str, &str)> {
    let code = text.split('`').skip(1).step_by(2);
    code.filter_map(|code| code.split_once(": ")).filter(|(file, _)| file.ends_with(".rs")).collect()
}

/// Whether a source has a test of this name: a function behind `#[test]`, or what a macro makes one of.
fn has_test(source: &str, test: &str) -> bool {
    let function = source.match_indices(&format!("fn {test}(")).any(|(at, _)| {
        // A function's attributes stand right before it, and an empty line before those.
        let attributes = source[..at].rsplit("\n\n").next().unwrap_or_default();
        attributes.contains("#[test]") || attributes.contains("#[tokio::test")
    });
    function || source.contains(&format!("on_both!({test} "))
}

#[test]
fn every_test_that_security_md_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("SECURITY.md")).expect("SECURITY.md");
    for (file, test) in named(&text) {
        let source = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(has_test(&source, test), "{file} has no test {test}");
    }
    let risks: Vec<_> = text.lines().filter(|line| line.starts_with("| API")).collect();
    for number in 1..=10 {
        let row = risks.iter().find(|row| row.starts_with(&format!("| API{number}:2023 ")));
        let row = row.unwrap_or_else(|| panic!("no row for API{number}"));
        assert!(!named(row).is_empty(), "nothing shows it: {row}");
    }
    assert_eq!(risks.len(), 10);
}

#[test]
fn a_test_that_is_gone_is_missed() {
    let text = "| x | `tests/a.rs: one` and `not a test`, `tests/b.rs: two` |";
    assert_eq!(named(text), [("tests/a.rs", "one"), ("tests/b.rs", "two")]);
    let source = "#[test]\nfn one() {\n}\n\n    fn two() {\n    }\n\non_both!(three () |s| x);\n";
    assert!(has_test(source, "one") && has_test(source, "three"));
    assert!(!has_test(source, "two") && !has_test(source, "four"));
}
