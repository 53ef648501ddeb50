//! Types that the document describes by a schema of their own.

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};

/// Gives a type its name and its schema in the document.
macro_rules! described {
    ($type:ty, $name:literal, $schema:expr) => {
        impl poem_openapi::types::Type for $type {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn schema_ref() -> poem_openapi::registry::MetaSchemaRef {
                $schema
            }

            fn as_raw_value(&self) -> Option<&Self::RawValueType> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self::RawElementValueType> + 'a> {
                Box::new(std::iter::empty())
            }
        }
    };
}
pub(crate) use described;

/// A text in one of the document's formats.
pub(crate) fn formatted(format: &'static str) -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", format)))
}

/// A text that looks so.
pub(crate) fn patterned(pattern: &str) -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(MetaSchema { pattern: Some(pattern.to_owned()), ..MetaSchema::new("string") }))
}
