//! The rows of a snapshot, as messages of limited size: what a socket has sent once it keeps room for, and most sockets are
//! idle after their snapshot.

use serde_json::value::{RawValue, to_raw_value};
pub(super) use writ_projections::query::Row;

use crate::queries::Item;

/// Bytes of rows of one message; a row that is larger comes alone.
const PIECE: usize = 4 * 1024;

/// The rows in pieces, each as a list shows it.
pub(super) fn pieces(rows: Vec<Row>) -> Vec<Vec<Box<RawValue>>> {
    let mut pieces = vec![Vec::new()];
    let mut size = 0;
    for row in rows {
        let row = to_raw_value(&Item::from(row)).expect("invariant: rows have string keys only");
        let length = row.get().len();
        if size > 0 && size + length > PIECE {
            pieces.push(Vec::new());
            size = 0;
        }
        size += length;
        if let Some(piece) = pieces.last_mut() {
            piece.push(row);
        }
    }
    pieces
}
