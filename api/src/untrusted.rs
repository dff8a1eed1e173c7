//! What reads the bytes of a client, without a server around it, so that the fuzz targets (`fuzz/checks/`) reach it. Only
//! for them, and so hidden: the handlers call the same functions, and these may change with them.

use axum::extract::Query;
use http::{HeaderMap, HeaderValue, Uri};
use writ_model::{Models, Position};
use writ_producers::envelope::CommandRecord;

use crate::caller::Caller;
use crate::commands::{self, batch, single};
use crate::middleware::{self, Trace};
use crate::problem::{Kind, Problem};
use crate::{hardening, headers, queries};

/// A command as `POST /v1/{model}/{command}` and `POST /v1/{model}/{id}/{command}` take it, up to the record for Kafka.
pub fn command(
    models: &Models,
    path: (String, Option<String>, String),
    query: &[(String, String)],
    headers: &HeaderMap,
    body: &[u8],
) -> Result<CommandRecord, Problem> {
    let (call, _) = single::read(path, query, headers, body)?;
    Ok(commands::check(models, call, &Caller::open(), &Trace::of(headers))?.record)
}

/// A command as a line of `POST /v1/commands`, up to the record for Kafka.
pub fn line(models: &Models, line: &[u8]) -> Result<CommandRecord, Problem> {
    Ok(commands::check(models, batch::parse(line)?, &Caller::open(), &Trace::of(&HeaderMap::new()))?.record)
}

/// The parameters of a query string.
pub fn query(text: &[u8]) -> Result<Vec<(String, String)>, Problem> {
    let uri = Uri::try_from([b"/?", text].concat())
        .map_err(|error| Kind::InvalidPath.because(format!("{error}.")))?;
    queries::parameters(Query::try_from_uri(&uri))
}

/// `Writ-Position`.
pub fn positions(headers: &HeaderMap) -> Result<Vec<Position>, Problem> {
    headers::positions(headers)
}

/// Whether `If-None-Match` names this version.
pub fn has_version(headers: &HeaderMap, version: u64) -> bool {
    headers::has_version(headers, version)
}

/// The `traceparent` of what the request causes.
pub fn traceparent(headers: &HeaderMap) -> String {
    Trace::of(headers).traceparent()
}

/// The id that names the request in the log.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    middleware::request_id(headers)
}

/// Whether a request with this `Host` is served.
pub fn is_known_host(host: &str) -> bool {
    hardening::is_known_host(host, &[])
}
