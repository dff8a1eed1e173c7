//! Who sends a request: found out once, before any handler, which take it from the request's extensions.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
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
        Caller { actor: Actor::unrestricted() }
    }

    /// Whether nobody has signed in.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.actor.id.is_none()
    }
}

/// Finds out who sends the request.
pub(crate) async fn identify(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Caller::open());
    next.run(request).await
}
