//! Contacts: their numbers, their tags, reading them from files, who wrote to them last, who does not want to be written
//! to, forgetting them.

pub(crate) mod activity;
pub mod customers;
pub(crate) mod erase;
mod erase_again;
pub mod import_file;
pub mod phone;
pub mod stop_words;
pub mod suppressions;
pub(crate) mod tags;

pub use erase_again::erase_again;
