//! Which column is what.

use super::row::{ImportRow, RowError};
use std::collections::BTreeMap;

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The number.
    Phone,
    /// The name; several such columns are joined with a space.
    Name,
    /// Tags, separated by comma, semicolon or bar.
    Tags,
    /// Where the contact comes from.
    Source,
    /// A value for templates, under this key.
    Attribute(String),
}

impl Field {
    /// The name in a mapping and in a preview.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Phone => "phone".into(),
            Self::Name => "name".into(),
            Self::Tags => "tags".into(),
            Self::Source => "source".into(),
            Self::Attribute(key) => format!("attributes.{key}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "phone" | "phoneE164" => Self::Phone,
            "name" => Self::Name,
            "tags" => Self::Tags,
            "source" => Self::Source,
            other => {
                let key = other.strip_prefix("attributes.")?;
                let fine = !key.is_empty() && key.len() <= 64 && key.chars().all(|c| c.is_alphanumeric() || c == '_');
                fine.then(|| Self::Attribute(key.to_owned()))?
            }
        })
    }
}

/// Column names (or places, from 0) and what they hold.
pub type Mapping = BTreeMap<String, String>;

/// Why the columns could not be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// A mapping names something that no column can hold.
    #[error("{0:?} is no field; there are phone, name, tags, source and attributes.<key>")]
    UnknownField(String),
    /// A mapping names a column that the file does not have.
    #[error("the file has no column {0:?}")]
    UnknownColumn(String),
    /// No column holds the number.
    #[error("no column looks like a phone number; name one in `mapping`, as {{\"<column>\": \"phone\"}}")]
    NoPhone,
}

/// What each column of a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnPlan {
    /// By place; `None`: not read.
    pub fields: Vec<Option<Field>>,
    /// The header, where the file has one.
    pub header: Option<Vec<String>>,
}

impl ColumnPlan {
    /// Tells the columns from the first row: by the mapping, else by likeness of the header's names; a first row that
    /// holds a number is no header, and columns go by their order: number, name, tags.
    ///
    /// # Errors
    /// See [`MappingError`].
    pub fn from_first_row(cells: &[String], mapping: &Mapping) -> Result<Self, MappingError> {
        let headless = cells.iter().any(|cell| crate::contacts::phone::normalise(cell).is_ok());
        let mut fields: Vec<Option<Field>> = if headless {
            (0..cells.len()).map(|place| [Field::Phone, Field::Name, Field::Tags].get(place).cloned()).collect()
        } else {
            by_likeness(cells)
        };
        if !mapping.is_empty() {
            if headless {
                fields.fill(None);
            }
            for (column, field) in mapping {
                let place = cells
                    .iter()
                    .position(|cell| !headless && plain(cell) == plain(column))
                    .or_else(|| column.parse().ok().filter(|place| *place < cells.len()))
                    .ok_or_else(|| MappingError::UnknownColumn(column.clone()))?;
                let field = Field::parse(field).ok_or_else(|| MappingError::UnknownField(field.clone()))?;
                if field == Field::Phone {
                    fields.iter_mut().filter(|f| **f == Some(Field::Phone)).for_each(|f| *f = None);
                }
                if let Some(slot) = fields.get_mut(place) {
                    *slot = Some(field);
                }
            }
        }
        if !fields.contains(&Some(Field::Phone)) {
            return Err(MappingError::NoPhone);
        }
        Ok(Self { fields, header: (!headless).then(|| cells.to_vec()) })
    }

    /// Reads a row's cells.
    ///
    /// # Errors
    /// A row that is too short to hold a number, or longer than the header.
    pub fn read(&self, line: u32, cells: &[String]) -> Result<ImportRow, RowError> {
        if cells.len() > self.fields.len() && cells[self.fields.len()..].iter().any(|cell| !cell.trim().is_empty()) {
            let (has, fields) = (cells.len(), self.fields.len());
            return Err(RowError { line, message: format!("has {has} cells, the file has {fields} columns") });
        }
        let mut row = ImportRow { line, ..ImportRow::default() };
        let mut found = false;
        for (field, cell) in self.fields.iter().zip(cells) {
            let cell = cell.trim();
            match field {
                Some(Field::Phone) => {
                    found = true;
                    row.phone = cell.to_owned();
                }
                Some(_) if cell.is_empty() => {}
                Some(Field::Name) => {
                    row.name = Some(row.name.take().map_or_else(|| cell.to_owned(), |name| format!("{name} {cell}")));
                }
                Some(Field::Tags) => row.tags.extend(
                    cell.split([',', ';', '|']).map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned),
                ),
                Some(Field::Source) => row.source = Some(cell.to_owned()),
                Some(Field::Attribute(key)) => {
                    row.attributes.insert(key.clone(), cell.to_owned());
                }
                None => {}
            }
        }
        if found { Ok(row) } else { Err(RowError { line, message: "has no cell for the phone number".into() }) }
    }
}

/// A header's name without what people write differently: case, spaces, underscores, hyphens, dots, common accents.
fn plain(name: &str) -> String {
    name.chars()
        .flat_map(char::to_lowercase)
        .filter(|c| c.is_alphanumeric())
        .map(|c| match c {
            'á' | 'à' | 'ã' | 'â' | 'ä' => 'a',
            'é' | 'è' | 'ê' | 'ë' => 'e',
            'í' | 'ì' | 'î' | 'ï' => 'i',
            'ó' | 'ò' | 'õ' | 'ô' | 'ö' => 'o',
            'ú' | 'ù' | 'û' | 'ü' => 'u',
            'ç' => 'c',
            'ñ' => 'n',
            other => other,
        })
        .collect()
}

const PHONE: [&str; 22] = [
    "phone",
    "phonee164",
    "phonenumber",
    "phoneno",
    "mobile",
    "mobilenumber",
    "mobilephone",
    "cell",
    "cellphone",
    "tel",
    "telephone",
    "whatsapp",
    "whatsappnumber",
    "msisdn",
    "手机",
    "手机号",
    "手机号码",
    "电话",
    "电话号码",
    "telefono",
    "celular",
    "телефон",
];
const NAME: [&str; 12] = [
    "name",
    "fullname",
    "contactname",
    "contact",
    "firstname",
    "lastname",
    "姓名",
    "名字",
    "名称",
    "nombre",
    "nome",
    "имя",
];
const TAGS: [&str; 9] = ["tags", "tag", "labels", "label", "groups", "group", "标签", "etiquetas", "метки"];
const SOURCE: [&str; 6] = ["source", "origin", "来源", "origen", "origem", "источник"];

fn by_likeness(header: &[String]) -> Vec<Option<Field>> {
    let mut phone_found = false;
    header
        .iter()
        .map(|name| {
            if let Some(field) = Field::parse(name.trim()).filter(|field| matches!(field, Field::Attribute(_))) {
                return Some(field);
            }
            let name = plain(name);
            if PHONE.contains(&name.as_str()) {
                return (!std::mem::replace(&mut phone_found, true)).then_some(Field::Phone);
            }
            if NAME.contains(&name.as_str()) {
                Some(Field::Name)
            } else if TAGS.contains(&name.as_str()) {
                Some(Field::Tags)
            } else if SOURCE.contains(&name.as_str()) {
                Some(Field::Source)
            } else {
                None
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(row: &[&str]) -> Vec<String> {
        row.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_are_told_by_likeness() {
        let plan = ColumnPlan::from_first_row(
            &cells(&["First Name", "LAST_NAME", "Phone-Number", "Labels", "note", "attributes.city"]),
            &Mapping::new(),
        )
        .expect("plan");
        let row = plan.read(2, &cells(&["Ann", "Lee", "+60123456789", "a; b|c", "x", "Ipoh"])).expect("row");
        assert_eq!(row.name.as_deref(), Some("Ann Lee"));
        assert_eq!(row.tags, ["a", "b", "c"]);
        assert_eq!(row.attributes.get("city").map(String::as_str), Some("Ipoh"));
    }

    #[test]
    fn a_file_without_a_header_goes_by_order() {
        let plan = ColumnPlan::from_first_row(&cells(&["+60123456789", "Ann"]), &Mapping::new()).expect("plan");
        assert_eq!(plan.header, None);
        assert_eq!(plan.read(1, &cells(&["+60123456789", "Ann"])).expect("row").name.as_deref(), Some("Ann"));
    }

    #[test]
    fn a_mapping_wins_and_is_checked() {
        let header = cells(&["phone", "other", "town"]);
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect::<Mapping>();
        let plan =
            ColumnPlan::from_first_row(&header, &map(&[("other", "phone"), ("2", "attributes.town")])).expect("plan");
        assert_eq!(plan.fields, [None, Some(Field::Phone), Some(Field::Attribute("town".into()))]);
        assert_eq!(
            ColumnPlan::from_first_row(&header, &map(&[("nope", "name")])),
            Err(MappingError::UnknownColumn("nope".into()))
        );
        assert_eq!(
            ColumnPlan::from_first_row(&header, &map(&[("town", "nope")])),
            Err(MappingError::UnknownField("nope".into()))
        );
        assert_eq!(ColumnPlan::from_first_row(&cells(&["a", "b"]), &Mapping::new()), Err(MappingError::NoPhone));
    }

    #[test]
    fn a_ragged_row_is_an_error_of_its_line() {
        let plan = ColumnPlan::from_first_row(&cells(&["name", "phone"]), &Mapping::new()).expect("plan");
        assert_eq!(plan.read(9, &cells(&["Ann"])).expect_err("short").line, 9);
        assert!(plan.read(9, &cells(&["a", "b", "c"])).is_err());
        assert!(plan.read(9, &cells(&["a", "b", " "])).is_ok());
    }
}
