//! Tables of text.

/// Formats rows under a header, with columns as wide as their widest cell. A line break in a cell does not start a new
/// line.
pub(in crate::cli) fn table<const COLUMNS: usize>(
    header: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> String {
    let rows = rows.map(|row| row.map(|cell| cell.replace('\n', "\\n")));
    let rows: Vec<[String; COLUMNS]> = std::iter::once(header.map(ToOwned::to_owned)).chain(rows).collect();
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; COLUMNS]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
