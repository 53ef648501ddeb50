//! What users keep for themselves: views of lists, drafts of sends, and the numbers that their tests go to. Nothing else reads
//! it, and what of it is shared is a name and a filter.

pub mod drafts;
pub mod numbers;
pub mod views;
