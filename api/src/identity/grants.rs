//! Nobody hands out more than they have: who gives an account roles, or a role permissions, has to have all that is given.
//! And what the server itself sends, nobody else does, whatever permissions they have: a password that came in by the general
//! way would be stored as it was typed.

use uuid::Uuid;
use writ_identity::models::{ACCOUNT, API_KEY, OIDC_IDENTITY, ROLE, SESSION};
use writ_model::access::{Permission, Permissions};
use writ_model::{FieldError, Object, Value};

use crate::app::App;
use crate::caller::Caller;
use crate::problem::{Kind, Problem};

/// Commands that have an address of their own.
const OWN: [(&str, &[&str]); 4] = [
    (
        ACCOUNT,
        &[
            "create",
            "sign_in",
            "change_password",
            "send_proof",
            "verify_email",
            "reset_password",
            "offer_totp",
            "activate_totp",
            "remove_totp",
        ],
    ),
    (SESSION, &["start", "refresh", "close"]),
    (API_KEY, &["create", "use"]),
    (OIDC_IDENTITY, &["link"]),
];

/// Whether only the server sends this command.
pub(crate) fn is_own(model: &str, command: &str) -> bool {
    OWN.iter().any(|(own, commands)| *own == model && commands.contains(&command))
}

/// Refuses a command by which the caller would hand out more than the caller has.
pub(crate) fn check(
    app: &App,
    caller: &Caller,
    model: &str,
    command: &str,
    input: &Object,
) -> Result<(), Problem> {
    if is_own(model, command) {
        return Err(Kind::Forbidden.because(format!(
            "The server itself sends `{command}` to this {model}; /docs has the addresses for it."
        )));
    }
    match (model, command) {
        (ACCOUNT, "assign_roles") => {
            let ids = items(input, "roles").filter_map(|item| match item {
                Value::Uuid(id) => Some(*id),
                _ => None,
            });
            let ids: Vec<Uuid> = ids.collect();
            let names = app.identity().directory.names(&ids);
            check_resolved(app, caller, "/roles", &names)
        }
        (ROLE, "create" | "update") => {
            let texts = items(input, "permissions").filter_map(|item| match item {
                Value::Text(text) => Some(text),
                _ => None,
            });
            let mut given = Vec::new();
            for (index, text) in texts.enumerate() {
                let permission: Permission = text.parse().map_err(|error| {
                    Problem::at(
                        Kind::InvalidInput,
                        &format!("/permissions/{index}"),
                        "invalid_format",
                        format!("{error}."),
                    )
                })?;
                given.push(permission);
            }
            check_cover(caller, "/permissions", &given.into_iter().collect())
        }
        _ => Ok(()),
    }
}

/// The same of roles by their names or ids.
pub(crate) fn check_roles(
    app: &App,
    caller: &Caller,
    pointer: &str,
    roles: &[String],
) -> Result<(), Problem> {
    let model = crate::queries::model(&app.api.models, ROLE)?;
    let ids: Vec<Uuid> = roles.iter().filter_map(|role| model.parse_id(role)).collect();
    let names = app.identity().directory.names(&ids);
    if names.len() < ids.len() || ids.len() < roles.len() {
        let fault = FieldError {
            pointer: pointer.to_owned(),
            code: "unknown_reference".into(),
            detail: "one of the roles doesn't exist".into(),
        };
        return Err(Problem::of_errors(Kind::UnknownReference, vec![fault]));
    }
    check_resolved(app, caller, pointer, &names)
}

fn check_resolved(app: &App, caller: &Caller, pointer: &str, names: &[String]) -> Result<(), Problem> {
    check_cover(caller, pointer, &app.identity().directory.resolve(names).1)
}

fn check_cover(caller: &Caller, pointer: &str, given: &Permissions) -> Result<(), Problem> {
    if caller.actor.permissions.cover(given) {
        return Ok(());
    }
    let detail = "nobody hands out more than they have, and you lack a part of these permissions";
    let fault = FieldError { pointer: pointer.to_owned(), code: "not_yours".into(), detail: detail.into() };
    Err(Problem::of_errors(Kind::Forbidden, vec![fault]))
}

fn items<'a>(input: &'a Object, field: &str) -> impl Iterator<Item = &'a Value> {
    match input.get(field) {
        Some(Value::List(items)) => items.iter(),
        _ => [].iter(),
    }
}

#[cfg(test)]
mod tests {
    use writ_model::access::{Early, Known, early};
    use writ_model::decide::Actor;

    use super::*;

    /// What the rules of the built-in models leave to the server is what nobody else gets to send.
    #[test]
    fn the_list_is_that_of_the_rules() {
        let models = writ_identity::models::check("shop", &[]).unwrap();
        let anyone = Actor { id: Some(Uuid::now_v7()), ..Actor::default() };
        let system = Actor { roles: vec![writ_identity::models::SYSTEM.into()], ..Actor::default() };
        for model in models.models.values() {
            for command in model.commands.keys() {
                let asked = |actor| early(model, command, &Known { actor, id: None, input: None, now: None });
                let by_rule = asked(&anyone) == Early::No && asked(&system) == Early::Yes;
                assert_eq!(is_own(&model.name, command), by_rule, "{}.{command}", model.name);
            }
        }
    }
}
