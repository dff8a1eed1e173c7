//! The cursor: the sort keys of a page's last event, with the fingerprint of the query that they belong to. Base64url of a
//! JSON array: opaque to callers, and nothing is kept on the server. Everything is checked again when it comes back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

const FOREIGN: &str =
    "this cursor belongs to another query; send it with the parameters of the page that it came with";
const BROKEN: &str = "this is no cursor; take the `next` of a page as it is";

pub(super) fn encode(fingerprint: u64, keys: &impl Serialize) -> String {
    let text = serde_json::to_string(&(format!("{fingerprint:016x}"), keys));
    URL_SAFE_NO_PAD.encode(text.expect("invariant: sort keys are texts and numbers"))
}

pub(super) fn decode<T: DeserializeOwned>(fingerprint: u64, cursor: &str) -> Result<T, &'static str> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| BROKEN)?;
    let (of, keys): (String, serde_json::Value) = serde_json::from_slice(&bytes).map_err(|_| BROKEN)?;
    if of != format!("{fingerprint:016x}") {
        return Err(FOREIGN);
    }
    serde_json::from_value(keys).map_err(|_| BROKEN)
}
