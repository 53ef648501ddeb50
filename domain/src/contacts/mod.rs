//! Contacts: their numbers, their tags, reading them from files, forgetting them.

pub(crate) mod erase;
pub mod import_file;
pub mod phone;
pub(crate) mod tags;
