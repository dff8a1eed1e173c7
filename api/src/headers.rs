//! The request and response headers of the interface: their names, and what their values mean.

use http::header::{CONTENT_TYPE, HeaderName, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue};
use writ_model::Position;

use crate::problem::{Kind, Problem};

/// Request: positions that the read model must have reached. Response: the position of the command's event.
pub(crate) const WRIT_POSITION: HeaderName = HeaderName::from_static("writ-position");
/// Response to `?wait=projected`: `false` when the read model didn't get there in time.
pub(crate) const WRIT_PROJECTED: HeaderName = HeaderName::from_static("writ-projected");
/// Request: makes a repeat give the first outcome.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Request and response: names the request in the log.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Request: W3C trace context.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Request: what a browser says about the page that sends.
pub(crate) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Request: where a client that lost its event stream goes on.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Request: whom a proxy was called by, a list that each proxy appends to.
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Response: the limits of the client (draft-ietf-httpapi-ratelimit-headers-10).
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// Response: what is left of them.
pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The longest idempotency key, in characters.
pub(crate) const IDEMPOTENCY_KEY_LIMIT: usize = 255;
/// Positions of one query: one per partition of a few models is plenty.
const POSITION_LIMIT: usize = 256;

/// The entity tag of a version: `"3"`.
pub(crate) fn etag(version: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).expect("digits and quotes are a valid header value")
}

/// `If-Match`: the version that the client saw.
pub(crate) fn expected_version(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(text) = single(headers, &IF_MATCH)? else { return Ok(None) };
    match quoted_version(text) {
        Some(version) => Ok(Some(version)),
        None => Err(Kind::InvalidHeader
            .because("`If-Match` takes one version in quotes, as `ETag` gives it, such as `\"3\"`."))?,
    }
}

fn quoted_version(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('"')?.strip_suffix('"')?;
    // `parse` alone would also take a plus sign.
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// `Idempotency-Key`.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(&IDEMPOTENCY_KEY) else { return Ok(None) };
    single(headers, &IDEMPOTENCY_KEY)
        .ok()
        .flatten()
        .filter(|_| is_idempotency_key(value.as_bytes()))
        .map(|key| Some(key.to_owned()))
        .ok_or_else(|| {
            Kind::InvalidHeader.because(format!(
                "`Idempotency-Key` takes one key of 1 to {IDEMPOTENCY_KEY_LIMIT} visible ASCII characters, such as a UUID."
            ))
        })
}

/// The key is 1 to 255 visible ASCII characters.
pub(crate) fn is_idempotency_key(key: &[u8]) -> bool {
    (1..=IDEMPOTENCY_KEY_LIMIT).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic)
}

/// `Writ-Position`: all positions of all its lines.
pub(crate) fn positions(headers: &HeaderMap) -> Result<Vec<Position>, Problem> {
    let mut positions = Vec::new();
    for value in headers.get_all(&WRIT_POSITION) {
        let text = value.to_str().map_err(|_| not_ascii(&WRIT_POSITION))?;
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let position: Position = item
                .parse()
                .map_err(|error| Kind::InvalidHeader.because(format!("`Writ-Position`: {error}.")))?;
            positions.push(position);
        }
    }
    if positions.len() > POSITION_LIMIT {
        return Err(Kind::InvalidHeader.because(format!(
            "`Writ-Position` has {} positions, at most {POSITION_LIMIT} are taken; keep the largest offset of each partition.",
            positions.len()
        )));
    }
    Ok(positions)
}

/// Whether `If-None-Match` names this version, so that 304 is the answer.
pub(crate) fn has_version(headers: &HeaderMap, version: u64) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .any(|tag| {
            let tag = tag.trim();
            tag == "*" || quoted_version(tag.strip_prefix("W/").unwrap_or(tag)) == Some(version)
        })
}

/// Refuses a body that says to be something else than one of `allowed`. A body that says nothing is taken.
pub(crate) fn check_content_type(headers: &HeaderMap, allowed: &[&str]) -> Result<(), Problem> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let media_type = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if allowed.contains(&media_type.as_str()) {
        return Ok(());
    }
    Err(Kind::UnsupportedMediaType.because(format!(
        "The body is sent as `{}`; send it with `Content-Type: {}`.",
        media_type.escape_default(),
        allowed[0]
    )))
}

/// The value of a header that may come once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Kind::InvalidHeader.because(format!("`{name}` is given more than once.")));
    }
    value.to_str().map(|text| Some(text.trim())).map_err(|_| not_ascii(name))
}

fn not_ascii(name: &HeaderName) -> Problem {
    Kind::InvalidHeader.because(format!("`{name}` has characters that are not visible ASCII."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn if_match_is_one_quoted_version() {
        assert_eq!(expected_version(&HeaderMap::new()), Ok(None));
        assert_eq!(expected_version(&with(IF_MATCH, &["\"3\""])), Ok(Some(3)));
        assert_eq!(expected_version(&with(IF_MATCH, &[" \"18446744073709551615\" "])), Ok(Some(u64::MAX)));
        for bad in
            ["3", "*", "W/\"3\"", "\"+3\"", "\"\"", "\"", "\"3\", \"4\"", "\"18446744073709551616\"", "é"]
        {
            let problem = expected_version(&with(IF_MATCH, &[bad])).unwrap_err();
            assert_eq!(problem.kind, Kind::InvalidHeader, "{bad}");
        }
        assert!(expected_version(&with(IF_MATCH, &["\"3\"", "\"3\""])).is_err());
    }

    #[test]
    fn an_idempotency_key_is_visible_ascii_of_limited_length() {
        let key = |values: &[&str]| idempotency_key(&with(IDEMPOTENCY_KEY, values));
        assert_eq!(idempotency_key(&HeaderMap::new()), Ok(None));
        assert_eq!(key(&["a"]), Ok(Some("a".into())));
        assert_eq!(key(&["k".repeat(255).as_str()]), Ok(Some("k".repeat(255))));
        for bad in ["", "two words", "é", "k".repeat(256).as_str()] {
            assert_eq!(key(&[bad]).unwrap_err().kind, Kind::InvalidHeader, "{bad}");
        }
        assert!(key(&["a", "b"]).is_err());
    }

    #[test]
    fn positions_come_in_lists_and_in_lines() {
        let headers = with(WRIT_POSITION, &["order:5:1234, customer:0:7", "product:1:2"]);
        let found: Vec<_> = positions(&headers).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(found, ["order:5:1234", "customer:0:7", "product:1:2"]);
        assert!(positions(&with(WRIT_POSITION, &["order:5"])).unwrap_err().detail.contains("order:5"));
        assert!(positions(&with(WRIT_POSITION, &[&"order:1:1,".repeat(257)])).is_err());
    }

    #[test]
    fn if_none_match_compares_weakly() {
        for hit in ["\"3\"", "W/\"3\"", "*", "\"1\", \"3\""] {
            assert!(has_version(&with(IF_NONE_MATCH, &[hit]), 3), "{hit}");
        }
        for miss in ["\"4\"", "3", ""] {
            assert!(!has_version(&with(IF_NONE_MATCH, &[miss]), 3), "{miss}");
        }
    }

    #[test]
    fn a_missing_content_type_is_taken_and_a_wrong_one_refused() {
        let check = |values: &[&str]| check_content_type(&with(CONTENT_TYPE, values), &["application/json"]);
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["application/json"]), Ok(()));
        assert_eq!(check(&["Application/JSON; charset=utf-8"]), Ok(()));
        for bad in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
            assert_eq!(check(&[bad]).unwrap_err().kind, Kind::UnsupportedMediaType, "{bad}");
        }
    }
}
