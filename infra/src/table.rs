//! Tables of plain text.

/// Renders rows under a header, each column as wide as its widest cell, the last one not padded.
pub(crate) fn render<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(header);
    for row in rows {
        text.push_str(&line(row.each_ref().map(String::as_str)));
    }
    text
}

/// A number of bytes in the unit that people read it in.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1024 * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["kafka".to_owned(), "1".to_owned()], ["Käse".to_owned(), String::new()]];
        assert_eq!(render(["NAME", "PID"], &rows), "NAME   PID\nkafka  1\nKäse\n");
    }

    #[test]
    fn memory_is_rounded_up() {
        assert_eq!(mebibytes(0), "0 MiB");
        assert_eq!(mebibytes(1), "1 MiB");
        assert_eq!(mebibytes(512 * 1024 * 1024), "512 MiB");
    }
}
