//! `/docs`: Swagger UI, served from the binary and fed by `/openapi.json`; nothing comes from another host.

use std::sync::{Arc, LazyLock};

use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use utoipa_swagger_ui::Config;

use crate::problem::Kind;

/// Swagger UI sets inline styles and shows its icons from data URLs; scripts come from this server only.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
);

static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    Arc::new(Config::from("/openapi.json").try_it_out_enabled(true).display_request_duration(true))
});

/// `/` and `/docs`: relative links of the page need the slash at the end.
pub(crate) async fn redirect() -> Redirect {
    Redirect::temporary("/docs/")
}

pub(crate) async fn index() -> Response {
    serve("index.html")
}

pub(crate) async fn asset(Path(path): Path<String>) -> Response {
    serve(&path)
}

fn serve(path: &str) -> Response {
    match utoipa_swagger_ui::serve(path, CONFIG.clone()) {
        Ok(Some(file)) => {
            let mut response = (StatusCode::OK, file.bytes.into_owned()).into_response();
            let headers = response.headers_mut();
            if let Ok(content_type) = HeaderValue::try_from(file.content_type) {
                headers.insert(CONTENT_TYPE, content_type);
            }
            if file.gzpipped {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            headers.insert(CONTENT_SECURITY_POLICY, POLICY);
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
            response
        }
        Ok(None) => {
            Kind::UnknownRoute.because("The documentation has no such file; open /docs/.").into_response()
        }
        Err(error) => {
            tracing::error!(error = %error, file.path = path, "a file of the documentation page can't be served");
            Kind::Internal.because("The documentation page can't be shown.").into_response()
        }
    }
}
