//! Who sends a request: found out once, before any handler, which take it from the request's extensions.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use writ_model::access::Permission;
use writ_model::decide::Actor;

/// Who sends a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// For the rules of the models.
    pub(crate) actor: Actor,
}

impl Caller {
    /// Whoever reaches an open server: nobody in particular, who may do everything.
    pub(crate) fn open() -> Caller {
        let permissions = [Permission::Everything].into_iter().collect();
        Caller { actor: Actor { permissions, ..Actor::default() } }
    }
}

/// Finds out who sends the request.
pub(crate) async fn identify(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Caller::open());
    next.run(request).await
}
