//! Contacts: finding them, making one of two that are one person, their numbers, their tags, reading them from files, who wrote to them last, who does not want to be written
//! to, forgetting them.

pub(crate) mod activity;
pub(crate) mod addresses;
pub mod customers;
pub(crate) mod erase;
mod erase_again;
pub mod find;
pub mod import_file;
pub mod merge;
pub mod phone;
pub mod spelling;
pub mod stop_words;
pub mod suppressions;
pub mod tags;

pub use erase_again::{ErasedUntil, erase_again};
