//! Which column is what.

use super::row::{FileRow, ImportRow, RowError};
use crate::contacts::phone;
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

/// What a mapping says of a column that is not to be read, whatever its name looks like.
const IGNORED: &str = "ignore";

/// Column names (or places, from 0) and what they hold.
pub type Mapping = BTreeMap<String, String>;

/// Why the columns could not be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// A mapping names something that no column can hold.
    #[error(
        "{0:?} is no field; there are phone, name, tags, source, attributes.<key>, and ignore for what is not read"
    )]
    UnknownField(String),
    /// A mapping names a column that the file does not have; the second text lists those that it has.
    #[error("the file has no column {0:?}; it has {1}")]
    UnknownColumn(String, String),
    /// No column holds the number; the text lists the columns and what they were taken for.
    #[error(
        "no column looks like a phone number; name one in `mapping`, as {{\"<column>\": \"phone\"}}. The columns are: {0}"
    )]
    NoPhone(String),
}

/// What each column of a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnPlan {
    /// By place; `None`: not read.
    pub fields: Vec<Option<Field>>,
    /// The header, where the file has one.
    pub header: Option<Vec<String>>,
    /// How many columns there are.
    pub(super) width: usize,
}

/// The most bytes of the list of columns in an error.
const LISTED: usize = 600;

/// The columns and what they were taken for, for people: `"Naam" (name), "Nr" (not read)`.
fn listed(cells: &[String], fields: &[Option<Field>]) -> String {
    let mut list = String::new();
    for (nth, (cell, field)) in cells.iter().zip(fields).enumerate() {
        let cell: String = cell.trim().chars().take(40).collect();
        let one = format!("{cell:?} ({})", field.as_ref().map_or_else(|| "not read".into(), Field::name));
        if list.len() + one.len() > LISTED {
            list.push_str(&format!(", and {} more", cells.len() - nth));
            break;
        }
        if nth > 0 {
            list.push_str(", ");
        }
        list.push_str(&one);
    }
    list
}

impl ColumnPlan {
    /// Tells the columns from the first row: by the mapping, else by likeness of the header's names; a first row that
    /// holds a number is no header, and columns go by their order: number, name, tags.
    ///
    /// # Errors
    /// See [`MappingError`].
    pub fn from_first_row(cells: &[String], mapping: &Mapping) -> Result<Self, MappingError> {
        let alike = by_likeness(cells);
        let named = |column: &String| cells.iter().any(|cell| plain(cell) == plain(column));
        let header = alike.contains(&Some(Field::Phone)) || mapping.keys().any(named);
        let headless = !header && cells.iter().any(|cell| phone::looks_like_number(cell));
        let mut fields: Vec<Option<Field>> = if headless {
            (0..cells.len()).map(|place| [Field::Phone, Field::Name, Field::Tags].get(place).cloned()).collect()
        } else {
            alike
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
                    .ok_or_else(|| MappingError::UnknownColumn(column.clone(), listed(cells, &fields)))?;
                if field == IGNORED {
                    if let Some(slot) = fields.get_mut(place) {
                        *slot = None;
                    }
                    continue;
                }
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
            return Err(MappingError::NoPhone(listed(cells, &fields)));
        }
        Ok(Self { fields, header: (!headless).then(|| cells.to_vec()), width: cells.len() })
    }

    /// The columns' names: of a file without a header, what they hold.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match &self.header {
            Some(header) => header.iter().map(|name| name.trim().to_owned()).collect(),
            None => {
                let name = |(place, field): (usize, &Option<Field>)| {
                    field.as_ref().map_or_else(|| format!("column {}", place + 1), Field::name)
                };
                self.fields.iter().enumerate().map(name).collect()
            }
        }
    }

    /// Whether a column holds the number.
    #[must_use]
    pub fn is_phone(&self, place: usize) -> bool {
        matches!(self.fields.get(place), Some(Some(Field::Phone)))
    }

    /// Reads a row's cells.
    ///
    /// # Errors
    /// A row that is too short to hold a number, or longer than the header.
    pub(super) fn read(&self, line: u32, cells: Vec<String>) -> FileRow {
        if cells.get(self.width..).unwrap_or_default().iter().any(|cell| !cell.trim().is_empty()) {
            let message = format!("has {} cells, the file has {} columns", cells.len(), self.width);
            let error = RowError::new(line, "too_many_cells", message).naming([cells.len(), self.width]);
            return Err(error.with_cells(cells));
        }
        let mut row = ImportRow { line, ..ImportRow::default() };
        let mut found = false;
        for (field, cell) in self.fields.iter().zip(&cells) {
            let cell = unescaped(cell.trim());
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
        match found {
            true => Ok((row, cells)),
            false => {
                let message = "has no cell for the phone number";
                Err(RowError::new(line, "no_phone_cell", message).with_cells(cells))
            }
        }
    }
}

/// A cell without the apostrophe that tells a spreadsheet to take it for a text: before a sign, a digit or a formula.
fn unescaped(cell: &str) -> &str {
    let rest = cell.trim_start_matches('\'');
    if rest.starts_with(|c: char| c.is_ascii_digit() || "=+-@\t".contains(c)) { rest } else { cell }
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

/// Names of a column of numbers, as [`plain`] has them.
const PHONE: &[&str] = &[
    "phone",
    "phonee164",
    "phonenumber",
    "phonenumbers",
    "phoneno",
    "phonenum",
    "phonenr",
    "mobile",
    "mobilenumber",
    "mobileno",
    "mobilenum",
    "mobilephone",
    "mobilephoneno",
    "mobilephonenumber",
    "cell",
    "cellphone",
    "cellno",
    "cellnumber",
    "cellphonenumber",
    "tel",
    "telno",
    "telnumber",
    "telephone",
    "telephoneno",
    "telephonenumber",
    "whatsapp",
    "whatsappno",
    "whatsappnumber",
    "wa",
    "wanumber",
    "waid",
    "msisdn",
    "contactno",
    "contactnumber",
    "contactphone",
    "hp",
    "hpno",
    "nohp",
    "handphone",
    "handphoneno",
    "nohandphone",
    "nomorhp",
    "nomorhandphone",
    "notel",
    "nomortelepon",
    "telepon",
    "notelefon",
    "nomortelefon",
    "gsm",
    "natel",
    "手机",
    "手机号",
    "手机号码",
    "移动电话",
    "电话",
    "电话号码",
    "联系电话",
    "联系方式",
    "手機",
    "手機號",
    "手機號碼",
    "電話",
    "電話號碼",
    "電話番号",
    "携帯",
    "携帯電話",
    "携帯番号",
    "携帯電話番号",
    "전화",
    "전화번호",
    "휴대폰",
    "휴대폰번호",
    "휴대전화",
    "telefono",
    "numerodetelefono",
    "notelefono",
    "movil",
    "telefonomovil",
    "celular",
    "numerodecelular",
    "telefone",
    "numerodetelefone",
    "telemovel",
    "telefon",
    "telefonnr",
    "telefonnummer",
    "handy",
    "handynr",
    "handynummer",
    "mobil",
    "mobilnr",
    "mobilnummer",
    "mobiltelefon",
    "portable",
    "numerodeportable",
    "cellulare",
    "numeroditelefono",
    "mobiel",
    "telefoonnummer",
    "telefoon",
    "telefonnumarasi",
    "cep",
    "ceptelefonu",
    "telefonkomorkowy",
    "numertelefonu",
    "komorka",
    "телефон",
    "номертелефона",
    "мобильный",
    "мобильныйтелефон",
    "номер",
    "هاتف",
    "الهاتف",
    "رقمالهاتف",
    "جوال",
    "الجوال",
    "رقمالجوال",
    "موبايل",
    "फोन",
    "मोबाइल",
    "มือถือ",
    "โทรศัพท์",
    "เบอร์โทร",
    "เบอร์โทรศัพท์",
    "điệnthoại",
    "sốđiệnthoại",
    "sđt",
];

/// Words in the name of a column of numbers, where it says more: `Mobile No. (WhatsApp)`, `客户手机号`,
const PHONE_WORDS: &[&str] =
    &["phone", "mobile", "cellular", "whatsapp", "msisdn", "telefon", "telephone", "手机", "手機", "电话", "電話"];
/// unless it says this.
const NO_PHONE_WORDS: &[&str] = &[
    "model", "brand", "type", "code", "valid", "status", "ext", "country", "time", "date", "note", "call", "plan",
    "型号", "品牌",
];

/// Whether a name says that its column holds numbers, among other words.
fn is_about_phones(name: &str) -> bool {
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    // `Mobile number with country code` is one.
    has(PHONE_WORDS) && (has(&["with", "incl"]) || !has(NO_PHONE_WORDS))
}

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
    // The first column whose name says that and nothing else; where none does, the first that says it among other words.
    let names: Vec<String> = header.iter().map(|name| plain(name)).collect();
    let phone = names
        .iter()
        .position(|name| PHONE.iter().any(|phone| plain(phone) == *name))
        .or_else(|| names.iter().position(|name| is_about_phones(name)));
    header
        .iter()
        .enumerate()
        .map(|(place, name)| {
            if let Some(field) = Field::parse(name.trim()).filter(|field| matches!(field, Field::Attribute(_))) {
                return Some(field);
            }
            let name = plain(name);
            if phone == Some(place) {
                return Some(Field::Phone);
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
        let row = plan.read(2, cells(&["Ann", "Lee", "+60123456789", "a; b|c", "x", "Ipoh"])).expect("row").0;
        assert_eq!(row.name.as_deref(), Some("Ann Lee"));
        assert_eq!(row.tags, ["a", "b", "c"]);
        assert_eq!(row.attributes.get("city").map(String::as_str), Some("Ipoh"));
    }

    #[test]
    fn a_file_without_a_header_goes_by_order() {
        let plan = ColumnPlan::from_first_row(&cells(&["+60123456789", "Ann"]), &Mapping::new()).expect("plan");
        assert_eq!(plan.header, None);
        assert_eq!(plan.read(1, cells(&["+60123456789", "Ann"])).expect("row").0.name.as_deref(), Some("Ann"));
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
            Err(MappingError::UnknownColumn(
                "nope".into(),
                "\"phone\" (phone), \"other\" (not read), \"town\" (not read)".into()
            ))
        );
        assert_eq!(
            ColumnPlan::from_first_row(&header, &map(&[("town", "nope")])),
            Err(MappingError::UnknownField("nope".into()))
        );
        let error = ColumnPlan::from_first_row(&cells(&["Name", "Ruf"]), &Mapping::new()).expect_err("no number");
        assert!(error.to_string().contains("\"Name\" (name), \"Ruf\" (not read)"), "{error}");
    }

    #[test]
    fn a_ragged_row_is_an_error_of_its_line() {
        let plan = ColumnPlan::from_first_row(&cells(&["name", "phone"]), &Mapping::new()).expect("plan");
        assert_eq!(plan.read(9, cells(&["Ann"])).expect_err("short").line, 9);
        assert!(plan.read(9, cells(&["a", "b", "c"])).is_err());
        assert!(plan.read(9, cells(&["a", "b", " "])).is_ok());
    }

    #[test]
    fn a_column_of_numbers_is_known_by_many_names() {
        for name in [
            "Mobile No. ",
            " MOBILE NO",
            "Mobile No. (WhatsApp)",
            "Phone #",
            "Tel.",
            "Contact No.",
            "\u{feff}Phone",
            "Customer Phone Number",
            "Teléfono",
            "Número de teléfono",
            "Telefon-Nr.",
            "WhatsApp Number",
            "手机号",
            "客户手机号",
            "No. HP",
            "Telefonnummer",
            "Phone 1",
            "電話番号",
            "Mobile number (with country code)",
            "เบอร์โทร",
        ] {
            let header = cells(&["Full Name", name, "Phone model"]);
            let plan = ColumnPlan::from_first_row(&header, &Mapping::new()).expect(name);
            assert_eq!(plan.fields, [Some(Field::Name), Some(Field::Phone), None], "{name}");
        }
        // The column that says nothing else comes before one that says more.
        let plan = ColumnPlan::from_first_row(&cells(&["Old phone", "Mobile"]), &Mapping::new()).expect("plan");
        assert_eq!(plan.fields, [None, Some(Field::Phone)]);
    }

    #[test]
    fn a_first_row_is_data_if_it_holds_a_number_and_no_name_of_a_column() {
        let headless =
            |row: &[&str]| ColumnPlan::from_first_row(&cells(row), &Mapping::new()).map(|p| p.header.is_none());
        assert_eq!(headless(&["13802345678", "Ann"]), Ok(true), "though its country is in doubt");
        assert_eq!(headless(&["62812345678.0", "Ann"]), Ok(true));
        assert_eq!(headless(&["Phone", "20240101"]), Ok(false));
    }

    #[test]
    fn a_spreadsheets_apostrophe_is_not_part_of_a_cell() {
        let plan =
            ColumnPlan::from_first_row(&cells(&["phone", "name", "attributes.no"]), &Mapping::new()).expect("plan");
        let (row, kept) = plan.read(2, cells(&["'+60123456789", "'Abd", "'007"])).expect("row");
        assert_eq!((row.phone.as_str(), row.name.as_deref()), ("+60123456789", Some("'Abd")));
        assert_eq!(row.attributes.get("no").map(String::as_str), Some("007"));
        assert_eq!(kept[0], "'+60123456789", "the cells stay as they came");
    }
}
