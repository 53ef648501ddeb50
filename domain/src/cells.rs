//! Cells of files that people open in spreadsheets.

/// A cell that a spreadsheet will not take for a formula.
#[must_use]
pub fn harmless(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { format!("'{cell}") } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_becomes_a_text() {
        for cell in ["=1+1", "+60", "-1", "@x", "\t=1"] {
            assert!(harmless(cell.into()).starts_with('\''), "{cell}");
        }
        assert_eq!(harmless("60123456789".into()), "60123456789");
    }
}
