//! Parts of pages that are made once for all who are shown the same.
//!
//! A change is told to every open page at once, and each fetches the part that shows it. A part is made once for a count
//! of changes ([`Live::version`](crate::live::Live::version)), language, and set of permissions; the others get the same
//! text with their own nonce and token. A page that is opened is always read anew, so that everybody sees the own change.

use crate::ui::Ui;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a part is shown at most: times and what has no news of its own go on meanwhile.
const SHOWN_FOR: Duration = Duration::from_secs(1);

/// How many parts are kept.
const KEPT: usize = 256;

/// What stands for the reader's nonce and token in a part. No template and no escaped value has such a character.
const NONCE: &str = "\u{1}nonce\u{1}";
const CSRF: &str = "\u{1}csrf\u{1}";

/// A part as it was made.
struct Made {
    version: u64,
    at: Instant,
    text: Arc<str>,
}

type Place = Arc<tokio::sync::Mutex<Option<Made>>>;

/// The parts.
#[derive(Default)]
pub(crate) struct Parts(Mutex<HashMap<String, Place>>);

impl Parts {
    /// The part of a name for this reader, as it was made at this count of changes; else as `make` makes it.
    pub(crate) async fn get<E>(
        &self,
        name: &str,
        version: u64,
        ui: &Ui,
        make: impl AsyncFnOnce(Ui) -> Result<String, E>,
    ) -> Result<String, E> {
        let place = self.place(format!("{name} {} {}", ui.language.tag(), ui.permissions()));
        // Who comes meanwhile waits for the one who makes it.
        let mut made = place.lock().await;
        let fresh = made.as_ref().filter(|made| made.version == version && made.at.elapsed() < SHOWN_FOR);
        let text = match fresh {
            Some(made) => made.text.clone(),
            None => {
                let text: Arc<str> = make(Ui { nonce: NONCE.into(), csrf: CSRF.into(), ..ui.clone() }).await?.into();
                *made = Some(Made { version, at: Instant::now(), text: text.clone() });
                text
            }
        };
        drop(made);
        Ok(text.replace(NONCE, &ui.nonce).replace(CSRF, &ui.csrf))
    }

    fn place(&self, key: String) -> Place {
        let mut places = self.0.lock();
        if places.len() >= KEPT && !places.contains_key(&key) {
            places.clear();
        }
        places.entry(key).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_part_is_made_once_for_a_count_of_changes_and_has_each_readers_own_nonce() {
        let (parts, made) = (Parts::default(), AtomicUsize::new(0));
        let show = async |version, nonce: &str| {
            let ui = Ui { nonce: nonce.into(), csrf: format!("token of {nonce}"), ..crate::ui::of_nobody() };
            let make = async |ui: Ui| {
                made.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Infallible>(format!("{} {}", ui.nonce, ui.csrf))
            };
            parts.get("now", version, &ui, make).await.unwrap_or_default()
        };
        assert_eq!(show(1, "a").await, "a token of a");
        assert_eq!(show(1, "b").await, "b token of b");
        assert_eq!(made.load(Ordering::SeqCst), 1);
        assert_eq!(show(2, "b").await, "b token of b");
        assert_eq!(made.load(Ordering::SeqCst), 2, "something has changed since");
    }
}
