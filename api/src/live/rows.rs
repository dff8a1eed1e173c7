//! The rows of a snapshot, as messages of limited size: what a socket has sent once it keeps room for, and most sockets are
//! idle after their snapshot.

use serde_json::value::{RawValue, to_raw_value};
pub(super) use writ_projections::query::Row;

use super::feed::Keyed;
use crate::queries::Item;

/// Bytes of rows of one message; a row that is larger comes alone.
const PIECE: usize = 4 * 1024;

/// Some rows, each as a list shows it.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) rows: Vec<Box<RawValue>>,
    /// Of an SQL projection: the keys of the same rows.
    pub(super) keys: Option<Vec<Box<RawValue>>>,
}

/// The rows of a model in pieces.
pub(super) fn pieces(rows: Vec<Row>) -> Vec<Piece> {
    let shown = |row| to_raw_value(&Item::from(row)).expect("invariant: rows have string keys only");
    cut(rows.into_iter().map(|row| (None, shown(row))))
}

/// The rows of a projection in pieces.
pub(super) fn keyed_pieces(rows: Vec<Keyed>) -> Vec<Piece> {
    cut(rows.into_iter().map(|one| (Some(raw(&one.key)), raw(&one.row))))
}

/// What PostgreSQL has written as JSON.
pub(super) fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).expect("invariant: the feed has JSON texts")
}

fn cut(rows: impl Iterator<Item = (Option<Box<RawValue>>, Box<RawValue>)>) -> Vec<Piece> {
    let mut pieces = vec![Piece::default()];
    let mut size = 0;
    for (key, row) in rows {
        let length = row.get().len() + key.as_ref().map_or(0, |key| key.get().len());
        if size > 0 && size + length > PIECE {
            pieces.push(Piece::default());
            size = 0;
        }
        size += length;
        if let Some(piece) = pieces.last_mut() {
            piece.rows.push(row);
            if let Some(key) = key {
                piece.keys.get_or_insert_default().push(key);
            }
        }
    }
    pieces
}
