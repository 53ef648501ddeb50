//! Pages of lists, by number.

use crate::foundation::param::{Lenient, Params};
use poem_openapi::Object;

/// The highest page that is asked for.
const MAX_PAGE: i64 = 1_000;

/// The most that a page has.
const MAX_PER_PAGE: i64 = 100;

/// How many a page has that does not say.
const PER_PAGE: i64 = 20;

/// Where a page of a list is.
#[derive(Debug, Object)]
pub(super) struct PageMeta {
    /// Which page, from 1.
    current_page: i64,
    /// How many it has at most.
    per_page: i64,
    /// How many match; of the audit log at most 10,000 are counted.
    total_count: i64,
    /// How many pages there are of those.
    total_pages: i64,
}

/// Which page is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paging {
    page: i64,
    per_page: i64,
}

impl Paging {
    /// Reads the parameters `page` and `per_page`.
    pub(super) fn read(params: &mut Params, page: Option<Lenient<i64>>, per_page: Option<Lenient<i64>>) -> Self {
        Self {
            page: params.number("page", page, 1, MAX_PAGE, 1),
            per_page: params.number("per_page", per_page, 1, MAX_PER_PAGE, PER_PAGE),
        }
    }

    /// How many rows the page has at most.
    pub(super) const fn limit(self) -> i64 {
        self.per_page
    }

    /// How many rows are before it.
    pub(super) const fn offset(self) -> i64 {
        (self.page - 1).saturating_mul(self.per_page)
    }

    /// What the page says of itself, when so many match.
    pub(super) const fn meta(self, total_count: i64) -> PageMeta {
        let total_pages = (total_count + self.per_page - 1) / self.per_page;
        PageMeta { current_page: self.page, per_page: self.per_page, total_count, total_pages }
    }
}
