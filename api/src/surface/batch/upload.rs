//! Files on their way to disk: neither a slow upload nor a large file holds a transaction or the memory.

use crate::foundation::body::{DRAIN, MAX_BODY, content_length, drain, too_large};
use crate::foundation::refusal::{Kind, Refusal};
use poem::web::Multipart;
use poem::{FromRequest, Request, RequestBody};
use poem_openapi::payload::{ParsePayload, Payload};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{Binary, Type};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Seek, Write};
use std::marker::PhantomData;
use tokio::io::AsyncReadExt;

/// The content types of files.
pub(super) trait FileType: Send + 'static {
    const CONTENT_TYPE: &'static str;

    /// What the document says of it.
    fn schema() -> MetaSchemaRef {
        <Binary<Vec<u8>> as Type>::schema_ref()
    }
}

/// A CSV file.
pub(super) struct CsvType;
impl FileType for CsvType {
    const CONTENT_TYPE: &'static str = "text/csv";
}

/// An XLSX workbook.
pub(super) struct XlsxType;
impl FileType for XlsxType {
    const CONTENT_TYPE: &'static str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
}

/// A form with a file.
pub(super) struct FormType;
impl FileType for FormType {
    const CONTENT_TYPE: &'static str = "multipart/form-data";

    fn schema() -> MetaSchemaRef {
        let text = |description| {
            MetaSchemaRef::Inline(Box::new(MetaSchema { description: Some(description), ..MetaSchema::new("string") }))
        };
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            required: vec!["file"],
            properties: vec![
                ("file", <Binary<Vec<u8>> as Type>::schema_ref()),
                ("mapping", text("A JSON object of column names, or places from 0, and fields.")),
                ("tags", text("Tags for all contacts, separated by commas.")),
                ("source", text("Where the contacts come from.")),
                ("defaultCountry", text("Where numbers without a country's code are at home: two letters.")),
                ("encoding", text("The encoding of a CSV file, as windows-1252; else it is found out.")),
                ("sheet", text("The sheet of a workbook: its name, or its place from 1.")),
                ("skipDuplicates", text("`true` or `false`: whether contacts that exist are skipped.")),
                ("dryRun", text("`true` or `false`: whether nothing is written, and told what each row would become.")),
            ],
            ..MetaSchema::new("object")
        }))
    }
}

/// The fields that a form may have: those that the document says.
pub(super) fn form_fields() -> impl Iterator<Item = &'static str> + Clone {
    let properties = match FormType::schema() {
        MetaSchemaRef::Inline(schema) => schema.properties,
        MetaSchemaRef::Reference(_) => Vec::new(),
    };
    properties.into_iter().map(|(name, _)| name).collect::<Vec<_>>().into_iter()
}

/// A file that was spooled to disk, with what a form said of it.
pub(super) struct Upload<T> {
    pub(super) spooled: Spooled,
    file_type: PhantomData<T>,
}

/// A file on disk.
pub(super) struct Spooled {
    pub(super) file: std::fs::File,
    /// Whether it is a workbook, else CSV.
    pub(super) workbook: bool,
    /// Of its content.
    pub(super) hash: String,
    /// The form's other fields.
    pub(super) fields: BTreeMap<String, String>,
}

impl<T: FileType> Payload for Upload<T> {
    const CONTENT_TYPE: &'static str = T::CONTENT_TYPE;

    fn check_content_type(content_type: &str) -> bool {
        content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(T::CONTENT_TYPE)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema()
    }
}

impl<T: FileType> ParsePayload for Upload<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        if content_length(request).is_some_and(|length| length > MAX_BODY) {
            drain(body.take()?, DRAIN).await;
            return Err(too_large().into());
        }
        let spooled = if T::CONTENT_TYPE == FormType::CONTENT_TYPE {
            form(request, body).await?
        } else {
            let mut spool = Spool::new()?;
            let body = poem::Body::from_request(request, body).await?;
            spool.fill(body.into_async_read()).await?;
            spool.done(T::CONTENT_TYPE == XlsxType::CONTENT_TYPE, BTreeMap::new())?
        };
        Ok(Self { spooled, file_type: PhantomData })
    }
}

/// The most parts of a form,
const MAX_PARTS: usize = 16;
/// and the most bytes of one that is no file.
const MAX_TEXT: u64 = 64 * 1024;

async fn form(request: &Request, body: &mut RequestBody) -> poem::Result<Spooled> {
    let broken = || Refusal::new(Kind::Validation, "the form could not be read");
    let mut parts = Multipart::from_request(request, body).await.map_err(|_| broken())?;
    let mut fields = BTreeMap::new();
    let mut file = None;
    let mut count = 0;
    while let Some(part) = parts.next_field().await.map_err(|_| broken())? {
        count += 1;
        if count > MAX_PARTS {
            return Err(Refusal::new(Kind::Validation, format!("the form has more than {MAX_PARTS} parts")).into());
        }
        let name = part.name().unwrap_or_default().to_owned();
        // Each file may be as large as a whole body.
        if fields.contains_key(&name) || (name == "file" && file.is_some()) {
            return Err(Refusal::field(name, "is there twice").into());
        }
        if name == "file" {
            let is_workbook = part.file_name().is_some_and(|name| name.to_ascii_lowercase().ends_with(".xlsx"))
                || part.content_type() == Some(XlsxType::CONTENT_TYPE);
            let mut spool = Spool::new()?;
            spool.fill(part.into_async_read()).await?;
            file = Some((spool, is_workbook));
        } else {
            let mut text = String::new();
            let read = part.into_async_read().take(MAX_TEXT + 1).read_to_string(&mut text).await;
            read.map_err(|_| Refusal::field(name.clone(), "must be a text"))?;
            if text.len() as u64 > MAX_TEXT {
                return Err(Refusal::field(name, format!("is longer than {} KiB", MAX_TEXT / 1024)).into());
            }
            fields.insert(name, text);
        }
    }
    let (spool, is_workbook) = file.ok_or_else(|| Refusal::field("file", "is required"))?;
    Ok(spool.done(is_workbook, fields)?)
}

/// A file on its way to disk.
struct Spool {
    file: std::fs::File,
    hasher: Sha256,
    bytes: usize,
}

/// What a client is told when the disk did not take or give its file.
pub(super) fn disk(error: std::io::Error) -> Refusal {
    tracing::error!(%error, "an upload could not be spooled");
    match error.kind() {
        std::io::ErrorKind::StorageFull => Refusal::new(Kind::Unavailable, "the disk is full; nothing was written"),
        _ => Refusal::internal(),
    }
}

impl Spool {
    fn new() -> Result<Self, Refusal> {
        Ok(Self { file: tempfile::tempfile().map_err(disk)?, hasher: Sha256::new(), bytes: 0 })
    }

    async fn fill(&mut self, mut from: impl tokio::io::AsyncRead + Unpin) -> Result<(), Refusal> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let n = from
                .read(&mut buffer)
                .await
                .map_err(|_| Refusal::new(Kind::Validation, "the body broke off before its end"))?;
            if n == 0 {
                return Ok(());
            }
            self.bytes += n;
            if self.bytes > MAX_BODY {
                return Err(too_large());
            }
            self.hasher.update(&buffer[..n]);
            self.file.write_all(&buffer[..n]).map_err(disk)?;
        }
    }

    fn done(mut self, workbook: bool, fields: BTreeMap<String, String>) -> Result<Spooled, Refusal> {
        self.file.rewind().map_err(disk)?;
        Ok(Spooled { file: self.file, workbook, hash: hex::encode(self.hasher.finalize()), fields })
    }
}
