//! Makes the table of assets: each with a name that changes with its content, and compressed beforehand.

use brotli::enc::BrotliEncoderParams;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The files under `assets/`, and what they are.
const FILES: [(&str, &str, &str); 7] = [
    ("HTMX", "vendor/htmx-4.0.1.min.js", "text/javascript; charset=utf-8"),
    ("HX_CSP", "vendor/hx-csp-4.0.1.min.js", "text/javascript; charset=utf-8"),
    ("SCRIPT", "console.js", "text/javascript; charset=utf-8"),
    ("PLOTS", "plots.js", "text/javascript; charset=utf-8"),
    ("CALENDAR", "calendar.js", "text/javascript; charset=utf-8"),
    ("ICON", "icon.svg", "image/svg+xml"),
    ("STYLE", "console.css", "text/css; charset=utf-8"),
];

fn main() -> io::Result<()> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from).ok_or(io::ErrorKind::NotFound);
    let (root, out) = (variable("CARGO_MANIFEST_DIR")?.join("assets"), variable("OUT_DIR")?);
    let mut table = String::new();
    for (name, path, content_type) in FILES {
        let source = root.join(path);
        println!("cargo::rerun-if-changed={}", source.display());
        let content = fs::read(&source)?;
        let digest = hex::encode(Sha256::digest(&content));
        let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or(name);
        let extension = Path::new(path).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let hashed = format!("{stem}.{}.{extension}", &digest[..12]);
        fs::write(out.join(&hashed), &content)?;
        let mut packed = Vec::new();
        brotli::BrotliCompress(&mut content.as_slice(), &mut packed, &BrotliEncoderParams::default())?;
        fs::write(out.join(format!("{hashed}.br")), packed)?;
        writeln!(
            table,
            "pub(crate) const {name}: Asset = Asset {{ name: {hashed:?}, content_type: {content_type:?}, \
             plain: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{hashed}\")), \
             packed: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{hashed}.br\")) }};"
        )
        .map_err(io::Error::other)?;
    }
    fs::write(out.join("assets.rs"), table)
}
