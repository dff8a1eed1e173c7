//! The cursor: the sort keys of a page's last row, with the fingerprint of the query that they belong to.
//! Base64url of a JSON array: opaque to callers, and nothing is kept on the server.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value as Json;
use writ_model::{Type, Value};

use super::request::ListRequest;
use crate::tables::{Kind, text};

/// `values` is the JSON array that [`super::page::cursor_values`] selects.
pub(super) fn encode(request: &ListRequest<'_>, values: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("[\"{:016x}\",{values}]", request.fingerprint))
}

/// The sort keys as texts for PostgreSQL. Everything is checked again: the caller may have changed it.
pub(super) fn decode(request: &ListRequest<'_>, cursor: &str) -> Result<Vec<Option<String>>, &'static str> {
    const FOREIGN: &str = "this cursor belongs to another query; send it with the filters and the sort of the page that it came with";
    const BROKEN: &str = "this is no cursor; take the `next` of a page as it is";
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| BROKEN)?;
    let (fingerprint, values): (String, Vec<Json>) = serde_json::from_slice(&bytes).map_err(|_| BROKEN)?;
    if fingerprint != format!("{:016x}", request.fingerprint) || values.len() != request.sort.len() {
        return Err(FOREIGN);
    }
    request.sort.iter().zip(&values).map(|(key, value)| read(key.target.kind, value).ok_or(BROKEN)).collect()
}

fn read(kind: Kind, json: &Json) -> Option<Option<String>> {
    let ty = match kind {
        Kind::Text => Type::Text { min_length: None, max_length: None, pattern: None },
        Kind::Integer => Type::Integer { min: None, max: None },
        Kind::Decimal { precision, scale } => Type::Decimal { precision, scale, min: None, max: None },
        Kind::Boolean => Type::Boolean,
        Kind::Timestamp => Type::Timestamp,
        Kind::Date => Type::Date,
        Kind::Duration => Type::Duration,
        Kind::Uuid | Kind::Ref => Type::Uuid,
        Kind::Json => return None,
    };
    if json.is_null() {
        return Some(None);
    }
    let mut errors = Vec::new();
    Some(text(&Value::from_json(&ty, json, "", &mut errors)?))
}
