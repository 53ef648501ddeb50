//! Languages: Fluent catalogues, parsed once, at the first need.

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use std::sync::LazyLock;
use unic_langid::LanguageIdentifier;

/// A language of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Language {
    /// English.
    En,
    /// 简体中文.
    ZhCn,
}

/// The catalogues' texts, a file for each part of the console.
pub(crate) const CATALOGUES: [(Language, &[&str]); 2] = [
    (
        Language::En,
        &[
            include_str!("../locales/en/console.ftl"),
            include_str!("../locales/en/queue.ftl"),
            include_str!("../locales/en/data.ftl"),
            include_str!("../locales/en/campaigns.ftl"),
        ],
    ),
    (
        Language::ZhCn,
        &[
            include_str!("../locales/zh-CN/console.ftl"),
            include_str!("../locales/zh-CN/queue.ftl"),
            include_str!("../locales/zh-CN/data.ftl"),
            include_str!("../locales/zh-CN/campaigns.ftl"),
        ],
    ),
];

static BUNDLES: LazyLock<[FluentBundle<FluentResource>; 2]> = LazyLock::new(|| {
    CATALOGUES.map(|(language, texts)| {
        let id: LanguageIdentifier = language.tag().parse().unwrap_or_default();
        let mut bundle = FluentBundle::new_concurrent(vec![id]);
        // The marks that isolate directions would stand in attributes, addresses and tests; both languages run the same way.
        bundle.set_use_isolating(false);
        for text in texts {
            // A test reads the catalogues strictly; what is wrong in one line must not take the others away.
            let resource = FluentResource::try_new((*text).to_owned()).unwrap_or_else(|(resource, _)| resource);
            if let Err(errors) = bundle.add_resource(resource) {
                tracing::error!(?errors, "a catalogue has a key twice");
            }
        }
        bundle
    })
});

impl Language {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::En, Self::ZhCn];

    /// The language's tag (BCP 47).
    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::ZhCn => "zh-CN",
        }
    }

    /// Its own name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::En => "English",
            Self::ZhCn => "简体中文",
        }
    }

    /// The language of a tag, if it is one of ours.
    pub(crate) fn of_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(tag))
    }

    /// The first of a browser's languages (`Accept-Language`, RFC 9110, 12.5.4) that is one of ours; English if none is.
    pub(crate) fn of_browser(accepted: &str) -> Self {
        let mut wanted: Vec<(f32, Self)> = accepted
            .split(',')
            .filter_map(|part| {
                let (tag, weight) = part.split_once(';').unwrap_or((part, "q=1"));
                let weight: f32 = weight.trim().strip_prefix("q=")?.parse().ok()?;
                let tag = tag.trim().to_ascii_lowercase();
                let language = match tag.split('-').next()? {
                    "en" => Self::En,
                    "zh" => Self::ZhCn,
                    _ => return None,
                };
                (weight > 0.0).then_some((weight, language))
            })
            .collect();
        // Stable: of two that are wanted as much, the first that is named.
        wanted.sort_by(|a, b| b.0.total_cmp(&a.0));
        wanted.first().map_or(Self::En, |(_, language)| *language)
    }

    /// The text of a key without values; `None`: there is none.
    pub(crate) fn known(self, key: &str, args: &[(&'static str, FluentValue<'_>)]) -> Option<String> {
        let bundle = match self {
            Self::En => &BUNDLES[0],
            Self::ZhCn => &BUNDLES[1],
        };
        bundle.get_message(key)?.value()?;
        Some(self.text(key, args))
    }

    /// The text of a key. A key that is not there shows itself: tests find it, a reader can still tell what it is.
    pub(crate) fn text(self, key: &str, args: &[(&'static str, FluentValue<'_>)]) -> String {
        let bundle = match self {
            Self::En => &BUNDLES[0],
            Self::ZhCn => &BUNDLES[1],
        };
        let Some(pattern) = bundle.get_message(key).and_then(|message| message.value()) else {
            tracing::error!(key, language = self.tag(), "a text is missing");
            return key.to_owned();
        };
        let args: FluentArgs<'_> = args.iter().cloned().collect();
        let mut errors = Vec::new();
        let text = bundle.format_pattern(pattern, Some(&args), &mut errors).into_owned();
        if !errors.is_empty() {
            tracing::error!(key, ?errors, "a text is incomplete");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluent_syntax::ast::{Entry, Expression, InlineExpression, Pattern, PatternElement};
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::{Path, PathBuf};

    fn variables<'a>(pattern: &Pattern<&'a str>, found: &mut BTreeSet<&'a str>) {
        fn inline<'a>(expression: &InlineExpression<&'a str>, found: &mut BTreeSet<&'a str>) {
            match expression {
                InlineExpression::VariableReference { id } => {
                    found.insert(id.name);
                }
                InlineExpression::Placeable { expression } => walk(expression, found),
                _ => {}
            }
        }
        fn walk<'a>(expression: &Expression<&'a str>, found: &mut BTreeSet<&'a str>) {
            match expression {
                Expression::Inline(one) => inline(one, found),
                Expression::Select { selector, variants } => {
                    inline(selector, found);
                    for variant in variants {
                        variables(&variant.value, found);
                    }
                }
            }
        }
        for element in &pattern.elements {
            if let PatternElement::Placeable { expression } = element {
                walk(expression, found);
            }
        }
    }

    /// Each key with the values that it shows; `count` only chooses between forms, which not every language has.
    fn keys(texts: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
        let mut keys = BTreeMap::new();
        let resource = |text| fluent_syntax::parser::parse(text).expect("the catalogue has no errors");
        for entry in texts.iter().flat_map(|text| resource(*text).body) {
            if let Entry::Message(message) = entry {
                let mut found = BTreeSet::new();
                variables(message.value.as_ref().expect("a message has a text"), &mut found);
                found.remove("count");
                let known = keys.insert(message.id.name.to_owned(), found.into_iter().map(str::to_owned).collect());
                assert!(known.is_none(), "{} is there twice", message.id.name);
            }
        }
        keys
    }

    fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                sources(&path, found);
            } else {
                found.push(path);
            }
        }
    }

    /// All templates and sources of the crate.
    fn files() -> Vec<(PathBuf, String)> {
        let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests"));
        let mut paths = Vec::new();
        sources(&root.join("templates"), &mut paths);
        sources(&root.join("src"), &mut paths);
        paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).expect("text"))).collect()
    }

    #[test]
    fn both_catalogues_have_the_same_keys_with_the_same_values() {
        let [english, chinese] = CATALOGUES.map(|(_, texts)| keys(texts));
        assert_eq!(english, chinese);
    }

    /// A key is used where it stands in quotes; those that are put together from a state are named by their first part.
    #[test]
    fn every_key_is_used() {
        let text: String = files().into_iter().map(|(_, text)| text).collect();
        let made = [
            "status-",
            "type-",
            "item-",
            "error-",
            "done-",
            "lane-",
            "selected-done-",
            "operation-",
            "reason-",
            "actor-",
            "did-",
            "role-",
            "field-",
            "bad-",
            "state-",
            "span-",
            "kind-",
            "event-",
            "health-",
            "unfit-",
            "approval-",
            "refused-",
            "warning-",
            "left-out-",
            "phone-",
            "row-error-",
            "row-field-",
            "row-job-",
            "row-batch-",
        ];
        let unused: Vec<String> = keys(CATALOGUES[0].1)
            .into_keys()
            .filter(|key| !text.contains(&format!("\"{key}\"")) && !made.iter().any(|start| key.starts_with(start)))
            .collect();
        assert!(unused.is_empty(), "texts that nobody shows: {unused:?}");
    }

    #[test]
    fn every_key_that_is_shown_is_there() {
        let keys = keys(CATALOGUES[0].1);
        let mut missing = Vec::new();
        for (path, text) in files() {
            for (at, _) in text.match_indices("ui.t") {
                let Some((call, rest)) = text[at..].split_once('(') else { continue };
                let Some(literal) = rest.trim_start().strip_prefix('"').filter(|_| call.len() < 8) else { continue };
                let key = literal.split('"').next().unwrap_or_default();
                if !keys.contains_key(key) {
                    missing.push(format!("{}: {key}", path.display()));
                }
            }
        }
        assert!(missing.is_empty(), "{missing:?}");
    }

    /// A template has no words of its own, and nothing that a strict policy forbids.
    #[test]
    fn templates_have_their_texts_in_the_catalogue_and_no_inline_code() {
        for (path, text) in files().into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "html")) {
            for forbidden in [" style=", "hx-on", "javascript:", "js:", "|safe", " onclick", "<style"] {
                assert!(!text.contains(forbidden), "{}: {forbidden}", path.display());
            }
            let mut rest = text.as_str();
            let mut bare = String::new();
            while let Some(at) = rest.find(['<', '{']) {
                bare.push_str(&rest[..at]);
                let end = match rest.get(at..at + 2) {
                    Some("{{") => "}}",
                    Some("{%") => "%}",
                    Some("{#") => "#}",
                    _ => ">",
                };
                rest = rest[at..].split_once(end).map_or("", |(_, after)| after);
            }
            bare.push_str(rest);
            let words: Vec<&str> =
                bare.split_whitespace().filter(|word| word.chars().any(char::is_alphabetic)).collect();
            let names = ["Paceline", "UTC", "Enter", "Esc", "g", "o", "b", "c", "n", "a", "j", "k", "u", "w", "s", "x"];
            let foreign: Vec<&&str> = words.iter().filter(|word| !names.contains(*word)).collect();
            assert!(foreign.is_empty(), "{}: {foreign:?}", path.display());
        }
    }

    #[test]
    fn the_browsers_wishes_are_weighed() {
        for (accepted, language) in [
            ("zh-CN,zh;q=0.9,en;q=0.8", Language::ZhCn),
            ("en-US,en;q=0.9,zh;q=0.8", Language::En),
            ("de,fr;q=0.9", Language::En),
            ("de, zh;q=0.5, en;q=0.4", Language::ZhCn),
            ("zh;q=0, en;q=0.1", Language::En),
            ("", Language::En),
            (";;q=,", Language::En),
        ] {
            assert_eq!(Language::of_browser(accepted), language, "{accepted}");
        }
    }
}
