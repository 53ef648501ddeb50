//! What a request for a list of people looks for: the same parameters on every surface.

use super::param::{Lenient, Params};
use domain::contacts::find::{MIN_DIGITS, Search, digits_of};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// How long what is looked for may be.
const MAX_CHARS: usize = 200;

/// The parameters `search`, `phone` and `tag`.
pub(crate) fn read(
    params: &mut Params,
    search: Option<Lenient<String>>,
    phone: Option<Lenient<String>>,
    tag: Option<Lenient<String>>,
) -> Search {
    let mut text = |name: &str, param| {
        let text: String = params.read(name, param, "a text").filter(|text: &String| !text.trim().is_empty())?;
        if text.chars().count() > MAX_CHARS || text.contains('\0') {
            params.bad(name, format!("must be at most {MAX_CHARS} characters, without NUL"));
            return None;
        }
        Some(text.trim().to_owned())
    };
    let search = Search {
        text: text("search", search),
        phone: text("phone", phone),
        tag: text("tag", tag),
        ..Search::default()
    };
    if search.phone.as_deref().is_some_and(|phone| digits_of(phone).is_none()) {
        params.bad(
            "phone",
            format!("must be a phone number, or {MIN_DIGITS} or more digits of one; look for names by search"),
        );
    }
    search
}

/// The parameter `attribute`: a name and a value, parted by the first colon.
pub(crate) fn attribute(params: &mut Params, attribute: Option<Lenient<String>>) -> Option<(String, String)> {
    let text: String = params.read("attribute", attribute, "a text").filter(|text: &String| !text.trim().is_empty())?;
    if text.chars().count() > MAX_CHARS || text.contains('\0') {
        params.bad("attribute", format!("must be at most {MAX_CHARS} characters, without NUL"));
        return None;
    }
    let found = text.split_once(':').filter(|(name, _)| !name.trim().is_empty());
    if found.is_none() {
        params.bad("attribute", "must be a name and a value, as city:Berlin");
    }
    found.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
}

/// What is looked for, as it stands in the address of the next page: `&search=…`.
pub(crate) fn query(search: &Search) -> String {
    let parts = [("search", &search.text), ("phone", &search.phone), ("tag", &search.tag)];
    let said = parts.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    said.map(|(name, value)| format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_looks_for_the_same() {
        let search =
            Search { text: Some("Zoë & \"Ann\">".into()), phone: None, tag: Some("vip".into()), ..Search::default() };
        assert_eq!(query(&search), "&search=Zo%C3%AB%20%26%20%22Ann%22%3E&tag=vip");
        assert_eq!(query(&Search::default()), "");
    }
}
