//! The list for people.

use writ_consumers::dead_letters::{State, Summary};

use super::{show, time};

/// A reason is cut after so many characters, `show` has the rest.
const REASON: usize = 100;
const KEY: usize = 50;

/// One line per letter, in columns.
pub(super) fn of(letters: &[Summary]) -> String {
    let mut rows = vec![["ID", "TIME", "BYTES", "KEY", "REASON"].map(str::to_owned)];
    rows.extend(letters.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    rows.iter()
        .map(|[id, at, bytes, key, reason]| {
            let [w0, w1, w2, w3] = widths;
            format!("{id:w0$}  {at:w1$}  {bytes:>w2$}  {key:w3$}  {reason}\n")
        })
        .collect()
}

fn row(letter: &Summary) -> [String; 5] {
    let mut reason = letter.reason.clone();
    if let Some(first) = &letter.replay_of {
        reason = format!("(again, after {first}) {reason}");
    }
    if let State::Done(mark) = letter.state {
        reason = format!("({}) {reason}", mark.name());
    }
    let key = letter.key.as_deref().map_or("-".to_owned(), show::text_or_hex);
    [
        letter.origin.to_string(),
        time(letter.at),
        letter.size.to_string(),
        cut(&key, KEY),
        cut(&reason, REASON),
    ]
}

/// On one line, and not longer than `limit` characters.
fn cut(text: &str, limit: usize) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if let Some((end, _)) = line.char_indices().nth(limit) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_line_of_bounded_length() {
        assert_eq!(cut("a\nb\x1b[2J", 100), "a b [2J");
        assert_eq!(cut("größer", 3), "grö…");
        assert_eq!(cut("größer", 6), "größer");
    }
}
