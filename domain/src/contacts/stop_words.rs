//! The words by which people say that they do not want to be written to, and that they do again.
//!
//! A message is such a word only when it says nothing else: "please stop by tomorrow" is a message. Case, spaces and the
//! punctuation around it do not matter, nor does the width of its letters as East Asian keyboards write them.

use serde::{Deserialize, Serialize};

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Write no more.
    Stop,
    /// Write again.
    Start,
}

/// The words, and what is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptOut {
    /// Words that stop bulk messages; empty: none does.
    pub stop_words: Vec<String>,
    /// Words that allow them again.
    pub start_words: Vec<String>,
    /// What is answered, once, to a word that stops; empty: nothing.
    pub stop_reply: String,
    /// What is answered to a word that allows; empty: nothing.
    pub start_reply: String,
}

impl Default for OptOut {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            stop_words: words(&["STOP", "UNSUBSCRIBE", "退订", "TD", "BAJA", "SAIR", "ARRET", "ARRÊT", "ОТПИСАТЬСЯ"]),
            start_words: words(&["START"]),
            stop_reply: "You will get no more of these messages. Answer START to get them again.".into(),
            start_reply: "You will get messages again. Answer STOP to end them.".into(),
        }
    }
}

/// The longest word that is taken, in characters.
const MAX_WORD: usize = 64;

/// The longest answer.
const MAX_REPLY: usize = 4_096;

impl OptOut {
    /// Checks the words.
    ///
    /// # Errors
    /// The key and what it takes.
    pub fn validate(&self) -> Result<(), String> {
        for (key, words) in [("stop_words", &self.stop_words), ("start_words", &self.start_words)] {
            if words.iter().any(|word| !(1..=MAX_WORD).contains(&bare(word).chars().count())) {
                return Err(format!("opt_out.{key}: expected words of 1 to {MAX_WORD} characters"));
            }
        }
        for (key, reply) in [("stop_reply", &self.stop_reply), ("start_reply", &self.start_reply)] {
            if reply.chars().count() > MAX_REPLY || reply.contains('\0') {
                return Err(format!("opt_out.{key}: expected at most {MAX_REPLY} characters"));
            }
        }
        match self.stop_words.iter().find(|stop| self.start_words.iter().any(|start| bare(start) == bare(stop))) {
            Some(word) => Err(format!("opt_out.start_words: {word:?} is among the stop_words too")),
            None => Ok(()),
        }
    }

    /// What a text asks for, and the word as it is configured.
    #[must_use]
    pub fn read(&self, text: &str) -> Option<(Wish, &str)> {
        // Longer than any word can be written, with some room for what is around it.
        if text.len() > 8 * MAX_WORD {
            return None;
        }
        let said = bare(text);
        let all = [(Wish::Stop, &self.stop_words), (Wish::Start, &self.start_words)];
        all.into_iter()
            .find_map(|(wish, words)| words.iter().find(|word| bare(word) == said).map(|word| (wish, word.as_str())))
    }
}

/// A text in capitals, letters in their usual width, without what is around it.
fn bare(text: &str) -> String {
    let narrow = |c: char| match c {
        // The full-width forms are the ASCII ones, moved.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        other => other,
    };
    let text: String = text.chars().map(narrow).collect();
    text.trim_matches(|c: char| !c.is_alphanumeric()).to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_word_alone_is_a_wish_however_it_is_written() {
        let words = OptOut::default();
        for text in [
            "STOP",
            "stop",
            " Stop. ",
            "\"stop\"!",
            "ＳＴＯＰ",
            "退订",
            "退订。",
            "td",
            "отписаться",
            "Arrêt",
            "sair\n",
        ] {
            assert_eq!(words.read(text).map(|(wish, _)| wish), Some(Wish::Stop), "{text:?}");
        }
        assert_eq!(words.read("start"), Some((Wish::Start, "START")));
        for text in ["", "please stop by tomorrow", "stopp", "STOP START", "回复TD退订", "…", "1"] {
            assert_eq!(words.read(text), None, "{text:?}");
        }
    }

    #[test]
    fn words_that_say_both_are_refused() {
        let mut words = OptOut::default();
        assert_eq!(words.validate(), Ok(()));
        words.start_words.push("stop!".into());
        assert!(words.validate().is_err());
        let empty = OptOut { stop_words: vec!["…".into()], ..OptOut::default() };
        assert!(empty.validate().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_wish_or_none(text in ".{0,200}") {
            let words = OptOut::default();
            if let Some((_, word)) = words.read(&text) {
                prop_assert_eq!(bare(word), bare(&text));
            }
        }
    }
}
