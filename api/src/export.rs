//! All rows of a list as CSV or NDJSON, sent on as PostgreSQL gives them.

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use http::HeaderMap;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, VARY};
use writ_projections::query::{Format, ListRequest};

use crate::app::App;
use crate::problem::Problem;
use crate::queries::unavailable;

const CSV: &str = "text/csv";
const NDJSON: &str = "application/x-ndjson";
/// The parameter that wins over `Accept`.
const FORMAT: &str = "format";

/// The parameters, with the format that `Accept` asks for if none of them says it.
pub(crate) fn with_format(
    mut parameters: Vec<(String, String)>,
    headers: &HeaderMap,
) -> Vec<(String, String)> {
    if parameters.iter().all(|(name, _)| name != FORMAT)
        && let Some(format) = accepted(headers)
    {
        parameters.push((FORMAT.into(), format.into()));
    }
    parameters
}

/// The first of the most wanted media types, if it is that of an export.
fn accepted(headers: &HeaderMap) -> Option<&'static str> {
    let texts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut best: Option<(f32, &str)> = None;
    for range in texts.flat_map(|text| text.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
        let weight = weight.filter(|weight: &f32| *weight > 0.0);
        if let Some(weight) = weight.filter(|weight| best.is_none_or(|(most, _)| *weight > most)) {
            best = Some((weight, media_type));
        }
    }
    match best.map(|(_, media_type)| media_type.to_ascii_lowercase()).as_deref() {
        Some(CSV) => Some("csv"),
        Some(NDJSON) => Some("ndjson"),
        _ => None,
    }
}

/// All rows that the request wants. An error on the way breaks the body off, so that nobody takes a part for the whole.
pub(crate) async fn all(app: &App, request: &ListRequest<'_>, format: Format) -> Result<Response, Problem> {
    let export = app.api.queries.export(request, format).await.map_err(unavailable)?;
    let (media_type, ending) = match format {
        Format::Csv => ("text/csv; charset=utf-8; header=present", "csv"),
        Format::Ndjson => (NDJSON, "ndjson"),
    };
    let pieces = export.map(|piece| {
        piece.map(Bytes::from).inspect_err(|error| tracing::warn!(error = %error, "an export was broken off"))
    });
    let headers = [
        (CONTENT_TYPE, media_type.to_owned()),
        // Names of models and projections are lower-case words.
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{}.{ending}\"", request.name())),
        (CACHE_CONTROL, "private, no-store".to_owned()),
        (VARY, "accept".to_owned()),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_most_wanted_type_decides() {
        for (accept, format) in [
            ("text/csv", Some("csv")),
            ("application/x-ndjson", Some("ndjson")),
            ("Text/CSV; charset=utf-8", Some("csv")),
            ("application/json, text/csv", None),
            ("text/csv;q=0.5, application/json", None),
            ("application/json;q=0.5, text/csv", Some("csv")),
            ("text/html, */*", None),
            ("text/csv;q=0", None),
            ("text/csv;q=x", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(accepted(&headers), format, "{accept}");
        }
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/csv"))]);
        let asked = vec![(FORMAT.to_owned(), "ndjson".to_owned())];
        assert_eq!(with_format(asked.clone(), &headers), asked, "the parameter wins");
    }
}
