//! Numbering plans: libphonenumber's data for each country's code, compiled once.
//!
//! The crate answers whether a number is *valid*, by patterns that it matches from the left only, and has no word for
//! *possible*. Both answers follow from its data: a number is possible if its length is one that its country has, and
//! assigned if one kind of number there (mobile, fixed line, …) matches it from end to end.

use phonenumber::Metadata;
use phonenumber::metadata::DATABASE;
use regex::{Regex, RegexSet};
use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

/// The numbers behind one country's code.
pub(super) struct Plan {
    regions: Vec<Region>,
    /// How many digits a national number may have: of the main region, as libphonenumber has it.
    lengths: Vec<u16>,
    /// What people put before a number at home.
    trunk: Option<String>,
}

struct Region {
    /// ISO 3166-1, or `001` for what belongs to no country.
    id: String,
    leading: Option<Regex>,
    general: Regex,
    kinds: Vec<Kind>,
}

struct Kind {
    lengths: Vec<u16>,
    pattern: Regex,
}

/// A pattern of the data (which is written with white space) that must match the whole text.
fn whole(pattern: &str) -> Option<Regex> {
    Regex::new(&anchored(pattern)).ok()
}

fn anchored(pattern: &str) -> String {
    format!("^(?:(?x:{pattern}))$")
}

fn length_of(digits: &str) -> u16 {
    u16::try_from(digits.len()).unwrap_or(u16::MAX)
}

impl Region {
    fn of(metadata: &Metadata) -> Option<Self> {
        let all = metadata.descriptors();
        let kinds = [
            all.fixed_line(),
            all.mobile(),
            all.toll_free(),
            all.premium_rate(),
            all.shared_cost(),
            all.personal_number(),
            all.voip(),
            all.pager(),
            all.uan(),
            all.voicemail(),
        ];
        let kinds = kinds
            .into_iter()
            .flatten()
            .filter_map(|kind| {
                let pattern = whole(kind.national_number().as_str())?;
                Some(Kind { lengths: kind.possible_length().to_vec(), pattern })
            })
            .collect();
        Some(Self {
            id: metadata.id().to_owned(),
            leading: metadata.leading_digits().and_then(|p| Regex::new(&format!("^(?:(?x:{}))", p.as_str())).ok()),
            general: whole(all.general().national_number().as_str())?,
            kinds,
        })
    }

    fn assigned(&self, national: &str) -> bool {
        let length = length_of(national);
        self.general.is_match(national)
            && self.kinds.iter().any(|kind| kind.lengths.contains(&length) && kind.pattern.is_match(national))
    }
}

impl Plan {
    fn of(code: u16) -> Option<Self> {
        let regions: Vec<Region> = DATABASE.by_code(&code)?.into_iter().filter_map(Region::of).collect();
        let mut lengths: Vec<u16> =
            regions.first()?.kinds.iter().flat_map(|kind| kind.lengths.iter().copied()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let main = DATABASE.by_code(&code)?.into_iter().next();
        let trunk = main.and_then(Metadata::national_prefix).filter(|prefix| !prefix.is_empty()).map(str::to_owned);
        Some(Self { regions, lengths, trunk })
    }

    /// What people put before a number at home, and should leave out behind the country's code.
    pub(super) fn trunk(&self) -> Option<&str> {
        self.trunk.as_deref()
    }

    /// Whether a national number has a length that the country's numbers have.
    pub(super) fn possible(&self, national: &str) -> bool {
        self.lengths.contains(&length_of(national))
    }

    /// Whether it is in a range that is known to be given out.
    pub(super) fn assigned(&self, national: &str) -> bool {
        self.region(national).is_some_and(|region| region.assigned(national))
    }

    /// The country of a number; where several share a code and none has the range, the one that is the code's first.
    pub(super) fn country(&self, national: &str) -> Option<&str> {
        let region = self.region(national).or(self.regions.first())?;
        (region.id != "001").then_some(region.id.as_str())
    }

    fn region(&self, national: &str) -> Option<&Region> {
        if let [only] = self.regions.as_slice() {
            return Some(only);
        }
        self.regions.iter().find(|region| match &region.leading {
            Some(leading) => leading.is_match(national),
            None => region.assigned(national),
        })
    }
}

static PLANS: LazyLock<BTreeMap<u16, OnceLock<Option<Plan>>>> = LazyLock::new(|| {
    (1..1_000).filter(|code| DATABASE.by_code(code).is_some()).map(|code| (code, OnceLock::new())).collect()
});

/// The plan of a country's code.
pub(super) fn of(code: u16) -> Option<&'static Plan> {
    PLANS.get(&code)?.get_or_init(|| Plan::of(code)).as_ref()
}

/// Splits an international number into its country's code and the rest. No code is the beginning of another.
pub(super) fn split(digits: &str) -> Option<(u16, &str)> {
    (1..=3).find_map(|length| {
        let (code, national) = digits.split_at_checked(length)?;
        let code = code.parse().ok().filter(|_| !code.starts_with('0'))?;
        PLANS.contains_key(&code).then_some((code, national))
    })
}

/// The mobile numbers of every country, as they are written at home without a trunk prefix.
struct Mobiles {
    patterns: RegexSet,
    lengths: Vec<Vec<u16>>,
}

static MOBILES: LazyLock<Mobiles> = LazyLock::new(|| {
    let mut patterns = Vec::new();
    let mut lengths = Vec::new();
    for mobile in
        PLANS.keys().filter_map(|code| DATABASE.by_code(code)).flatten().filter_map(|m| m.descriptors().mobile())
    {
        let pattern = anchored(mobile.national_number().as_str());
        if Regex::new(&pattern).is_ok() {
            patterns.push(pattern);
            lengths.push(mobile.possible_length().to_vec());
        }
    }
    let patterns = regex::RegexSetBuilder::new(patterns).size_limit(64 << 20).build().unwrap_or_else(|error| {
        tracing::error!(%error, "the patterns of mobile numbers do not compile");
        RegexSet::empty()
    });
    Mobiles { patterns, lengths }
});

/// Trunk prefixes with which an international number could begin, and their countries' codes: all others begin with 0.
static TRUNKS: LazyLock<Vec<(String, u16)>> = LazyLock::new(|| {
    let mut trunks: Vec<(String, u16)> = DATABASE
        .iter()
        .filter_map(|metadata| Some((metadata.national_prefix()?.to_owned(), metadata.country_code())))
        .filter(|(prefix, _)| !prefix.is_empty() && !prefix.starts_with('0'))
        .collect();
    trunks.sort_unstable();
    trunks.dedup();
    trunks
});

/// Whether digits without `+` are also how somebody at home in some country writes another number: a mobile number
/// there, or any number behind a trunk prefix.
pub(super) fn national_somewhere(digits: &str) -> bool {
    let length = length_of(digits);
    let mobile = || {
        let mobiles = &*MOBILES;
        mobiles.patterns.matches(digits).iter().any(|at| mobiles.lengths.get(at).is_some_and(|l| l.contains(&length)))
    };
    let trunk = || {
        TRUNKS.iter().any(|(prefix, code)| {
            digits.strip_prefix(prefix.as_str()).is_some_and(|national| {
                digits != format!("{code}{national}") && of(*code).is_some_and(|plan| plan.assigned(national))
            })
        })
    };
    trunk() || mobile()
}
