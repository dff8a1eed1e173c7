//! Why a command was refused, as `on_rejected` sees it.

use crate::decide::Rejection;
use crate::declaration::Sending;
use crate::value::{Object, Value};

/// Longest `error.detail`, in characters, so that it fits where a reason is kept: what compensates must not fail by a long one.
const LONGEST: usize = 300;

/// `error`, of the command that was sent.
pub(super) fn value(send: &Sending, rejection: &Rejection) -> Value {
    let detail = detail(send, rejection);
    let detail = match detail.char_indices().nth(LONGEST) {
        Some(_) => detail.chars().take(LONGEST - 1).chain(['…']).collect(),
        None => detail,
    };
    let mut error = Object::new();
    error.insert("code".to_owned(), Value::Text(code(rejection).to_owned()));
    error.insert("detail".to_owned(), Value::Text(detail));
    Value::Object(error)
}

/// The name of the problem that a caller of the HTTP API would get.
fn code(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::UnknownCommand { .. } => "unknown-command",
        Rejection::Invalid { .. } => "invalid-input",
        Rejection::NotFound => "not-found",
        Rejection::Forbidden => "forbidden",
        Rejection::AlreadyExists { .. } => "already-exists",
        Rejection::VersionMismatch { .. } => "version-mismatch",
        Rejection::WrongState { .. } => "wrong-state",
        Rejection::GuardFailed { .. } => "guard-failed",
        Rejection::Failed { .. } => "evaluation-failed",
        Rejection::NotUnique { .. } => "not-unique",
        Rejection::KeyReused => "idempotency-key-reused",
    }
}

fn detail(send: &Sending, rejection: &Rejection) -> String {
    let Sending { model, command, .. } = send;
    match rejection {
        Rejection::UnknownCommand { command } => format!("There is no command `{command}` of {model}."),
        Rejection::Invalid { errors } => super::faults(errors),
        Rejection::NotFound => format!("There is no such {model}."),
        Rejection::Forbidden => format!("`{command}` of {model} is not allowed."),
        Rejection::AlreadyExists { .. } => format!("The {model} exists already."),
        Rejection::VersionMismatch { expected, actual } => {
            format!("The {model} has version {actual}, not {expected}.")
        }
        Rejection::WrongState { field, actual, allowed } => {
            format!("`{command}` needs {field} to be {}; it is {actual}.", allowed.join(" or "))
        }
        Rejection::GuardFailed { detail } | Rejection::Failed { detail } => detail.clone(),
        Rejection::NotUnique { fields } => {
            format!("Another {model} has this {}.", fields.join(" and "))
        }
        Rejection::KeyReused => "The id of the command was used for another one.".to_owned(),
    }
}
