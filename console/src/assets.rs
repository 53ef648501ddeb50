//! Scripts and styles, in the binary. A file's name changes with its content, so that browsers may keep it for ever.

use crate::coding;
use poem::http::{HeaderValue, StatusCode, header};
use poem::web::CompressionAlgo;
use poem::{Request, Response};

/// A file as it was made by `build.rs`.
pub(crate) struct Asset {
    /// Its name below `/console/assets/`, the hash of its content in it.
    pub(crate) name: &'static str,
    content_type: &'static str,
    plain: &'static [u8],
    packed: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

const ALL: [&Asset; 7] = [&HTMX, &HX_CSP, &SCRIPT, &PLOTS, &CALENDAR, &STYLE, &ICON];

/// The addresses of the files, for templates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses;

impl Addresses {
    pub(crate) fn htmx(self) -> &'static str {
        HTMX.name
    }

    pub(crate) fn csp(self) -> &'static str {
        HX_CSP.name
    }

    pub(crate) fn script(self) -> &'static str {
        SCRIPT.name
    }

    pub(crate) fn plots(self) -> &'static str {
        PLOTS.name
    }

    pub(crate) fn calendar(self) -> &'static str {
        CALENDAR.name
    }

    pub(crate) fn icon(self) -> &'static str {
        ICON.name
    }

    pub(crate) fn style(self) -> &'static str {
        STYLE.name
    }
}

/// Serves a file by its name; compressed to those who can read it.
pub(crate) fn serve(request: &Request, name: &str) -> Response {
    let Some(asset) = ALL.into_iter().find(|asset| asset.name == name) else {
        return Response::builder().status(StatusCode::NOT_FOUND).finish();
    };
    // Packed ahead in the one coding that every browser takes.
    let brotli = coding::best(request.headers()) == Some(CompressionAlgo::BR);
    let mut response = Response::builder()
        .content_type(asset.content_type)
        .header(header::CACHE_CONTROL, "public, max-age=31536000, immutable")
        .header(header::VARY, "Accept-Encoding")
        .body(if brotli { asset.packed } else { asset.plain });
    if brotli {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    response
}
