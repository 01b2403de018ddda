//! What commands show on standard output.

use serde::Serialize;
use std::io::Write;

/// Shows a text; a reader that has gone away is no failure.
pub(super) fn text(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Shows bytes, which names need not be text of.
pub(super) fn bytes(bytes: &[u8]) {
    let _ = std::io::stdout().write_all(bytes);
}

/// Shows one JSON document.
pub(super) fn json(value: &impl Serialize) {
    let document = serde_json::to_string_pretty(value).expect("our own types have text keys");
    text(&format!("{document}\n"));
}

/// Shows rows in aligned columns, the first row being the titles.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) {
    text(&align(rows));
}

fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut result = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        result.push_str(line.trim_end());
        result.push('\n');
    }
    result
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_align() {
        let rows = [
            ["A".to_owned(), "B".to_owned()],
            ["long".to_owned(), String::new()],
        ];
        assert_eq!(super::align(&rows), "A     B\nlong\n");
    }
}
