//! Tables that fit the terminal: a column that holds nothing goes first, then long cells are
//! wrapped; where even that is too wide, each row becomes a block of its own.

use super::terminal::{HEAD, columns, pad, paint, width, wrap};

/// Between two columns.
const GAP: usize = 2;
/// No column is wrapped to less, unless all that it holds is shorter.
const NARROWEST: usize = 10;

/// A list as a table, an empty line before.
pub(super) fn table<T, const N: usize>(
    head: [&str; N],
    list: &[T],
    cells: impl Fn(&T) -> [String; N],
) -> String {
    let rows: Vec<Vec<String>> = list.iter().map(|one| cells(one).to_vec()).collect();
    let mut text = format!("\n{}", drawn(&head, &rows, width()));
    if list.is_empty() {
        text.push_str("\nnone");
    }
    text
}

fn drawn(head: &[&str], rows: &[Vec<String>], most: usize) -> String {
    let widest = |column: usize| {
        let cells = rows.iter().map(|row| columns(&row[column]));
        cells.chain([columns(head[column])]).max().unwrap_or_default()
    };
    let mut kept: Vec<usize> = (0..head.len()).collect();
    let total = |kept: &[usize], widths: &[usize]| {
        kept.iter().map(|column| widths[*column]).sum::<usize>()
            + GAP * kept.len().saturating_sub(1)
    };
    let mut widths: Vec<usize> = kept.iter().map(|column| widest(*column)).collect();
    if total(&kept, &widths) > most {
        kept.retain(|column| rows.is_empty() || rows.iter().any(|row| !row[*column].is_empty()));
    }
    while total(&kept, &widths) > most {
        let least = |column: usize| columns(head[column]).max(NARROWEST);
        let shrinks = kept.iter().copied().filter(|column| widths[*column] > least(*column));
        let Some(column) = shrinks.max_by_key(|column| widths[*column]) else {
            return blocks(head, rows, &kept, most);
        };
        widths[column] -= 1;
    }
    let mut text = String::new();
    let heads = kept.iter().map(|column| pad(head[*column], widths[*column]));
    text.push_str(&paint(HEAD, heads.collect::<Vec<_>>().join("  ").trim_end()));
    for row in rows {
        let cells: Vec<_> =
            kept.iter().map(|column| wrap(&row[*column], widths[*column])).collect();
        for line in 0..cells.iter().map(Vec::len).max().unwrap_or_default() {
            let parts = cells.iter().zip(&kept).map(|(cell, column)| {
                pad(cell.get(line).map_or("", String::as_str), widths[*column])
            });
            text.push('\n');
            text.push_str(parts.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
    text
}

/// One line for each cell that holds something.
fn blocks(head: &[&str], rows: &[Vec<String>], kept: &[usize], most: usize) -> String {
    let label = kept.iter().map(|column| columns(head[*column])).max().unwrap_or_default() + GAP;
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        if number > 0 {
            text.push_str("\n\n");
        }
        let mut lines = Vec::new();
        for column in kept.iter().filter(|column| !row[**column].is_empty()) {
            let cell = wrap(&row[*column], most.saturating_sub(label));
            let names = std::iter::once(head[*column]).chain(std::iter::repeat(""));
            lines.extend(
                cell.iter()
                    .zip(names)
                    .map(|(line, name)| format!("{}{line}", paint(HEAD, &pad(name, label)))),
            );
        }
        text.push_str(&lines.join("\n"));
    }
    text
}

/// A text that may not be there, as a cell.
pub(super) fn cell(text: &Option<String>) -> String {
    text.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn what_fits_is_as_wide_as_it_is() {
        let text = drawn(&["A", "BB"], &rows(&[&["1", ""], &["333", "4"]]), 80);
        assert_eq!(text, "A    BB\n1\n333  4");
    }

    #[test]
    fn an_empty_column_goes_before_a_cell_is_wrapped() {
        let all = rows(&[&["one", "", "a cell of many words"]]);
        assert_eq!(drawn(&["A", "EMPTY", "B"], &all, 26), "A    B\none  a cell of many words");
        assert_eq!(
            drawn(&["A", "EMPTY", "B"], &all, 18),
            "A    B\none  a cell of\n     many words"
        );
    }

    #[test]
    fn what_no_wrapping_helps_is_in_blocks() {
        let all = rows(&[&["0123456789ab", "0123456789", "0123456789"], &["b", "", "c"]]);
        let text = drawn(&["ONE", "TWO", "THREE"], &all, 24);
        assert_eq!(
            text,
            "ONE    0123456789ab\nTWO    0123456789\nTHREE  0123456789\n\nONE    b\nTHREE  c"
        );
    }
}
