//! Tables of text.

/// Formats rows under a header, with columns as wide as their widest cell. A line break in a cell does not start a new
/// line.
pub(in crate::cli) fn table<const COLUMNS: usize>(
    header: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> String {
    let header = header.map(ToOwned::to_owned).to_vec();
    self::rows(&std::iter::once(header).chain(rows.map(Vec::from)).collect::<Vec<_>>())
}

/// The same for rows of any number of cells, of which the first may be a header.
pub(in crate::cli) fn rows(rows: &[Vec<String>]) -> String {
    let plain = |cell: &String| cell.replace('\n', "\\n");
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(plain).collect()).collect();
    let mut widths = vec![0; rows.iter().map(Vec::len).max().unwrap_or_default()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
