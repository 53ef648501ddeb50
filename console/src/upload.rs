//! A form with a file: the file goes to the disk as it comes, so that neither a slow upload nor a large file holds memory.

use crate::fault::Fault;
use futures::TryFutureExt;
use poem::http::header;
use poem::web::Multipart;
use poem::{FromRequest, Request, RequestBody};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Seek, Write};
use tokio::io::AsyncReadExt;

/// The largest file, in bytes: as large as a body of the API may be.
const MAX_FILE: usize = 128 * 1024 * 1024;

/// The most parts of a form, and the most bytes of one that is no file.
const MAX_PARTS: usize = 600;
const MAX_TEXT: u64 = 64 * 1024;

/// A file that came with a form.
#[derive(Debug)]
pub(crate) struct Upload {
    /// At its beginning.
    pub(crate) file: File,
    /// Whether it is a workbook, else CSV.
    pub(crate) workbook: bool,
    /// Of its content.
    pub(crate) hash: String,
}

/// Whether a request brings a form with parts.
pub(crate) fn is_form(request: &Request) -> bool {
    request
        .header(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/form-data"))
}

fn broken() -> Fault {
    Fault::Bad("bad-form", String::new())
}

fn disk(error: std::io::Error) -> Fault {
    tracing::error!(%error, "an upload could not be written");
    match error.kind() {
        std::io::ErrorKind::StorageFull => Fault::Away,
        _ => Fault::Ours,
    }
}

/// Reads the values of a form, and its file; a field for a file that none was chosen for has none.
pub(crate) async fn read(request: &mut Request) -> Result<(Vec<(String, String)>, Option<Upload>), Fault> {
    let mut body = RequestBody::new(request.take_body());
    let mut parts = Multipart::from_request(request, &mut body).map_err(|_| broken()).await?;
    let (mut values, mut upload) = (Vec::new(), None);
    while let Some(part) = parts.next_field().await.map_err(|_| broken())? {
        if values.len() >= MAX_PARTS {
            return Err(broken());
        }
        let name = part.name().unwrap_or_default().to_owned();
        match part.file_name().map(str::to_owned) {
            Some(file) if file.is_empty() || upload.is_some() => {}
            Some(file) => upload = Some(spool(part.into_async_read(), &file).await?),
            None => {
                let mut text = String::new();
                let read = part.into_async_read().take(MAX_TEXT).read_to_string(&mut text).await;
                read.map_err(|_| broken())?;
                values.push((name, text));
            }
        }
    }
    Ok((values, upload))
}

async fn spool(mut from: impl tokio::io::AsyncRead + Unpin, name: &str) -> Result<Upload, Fault> {
    let mut file = tempfile::tempfile().map_err(disk)?;
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 64 * 1024]);
    loop {
        let n = from.read(&mut buffer).await.map_err(|_| broken())?;
        if n == 0 {
            break;
        }
        bytes += n;
        if bytes > MAX_FILE {
            return Err(Fault::Bad("import-large", (MAX_FILE / 1024 / 1024).to_string()));
        }
        hash.update(&buffer[..n]);
        file.write_all(&buffer[..n]).map_err(disk)?;
    }
    file.rewind().map_err(disk)?;
    let workbook = name.to_ascii_lowercase().ends_with(".xlsx");
    Ok(Upload { file, workbook, hash: hex::encode(hash.finalize()) })
}
