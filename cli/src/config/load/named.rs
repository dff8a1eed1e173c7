//! Tables whose names are free: `identity.oidc.<name>`, `identity.trusted.<name>`. Once a name is known, from the file or from
//! a variable, its keys are known as well, with their defaults.

use std::collections::{BTreeMap, BTreeSet};

use figment::Figment;
use figment::providers::Serialized;
use figment::value::Value;
use serde::Serialize;
use writ_api::identity::{oidc, trusted};

use super::{leaves, variable_of_key};

/// Adds the defaults of every table that a key of the file or a variable is of.
pub(super) fn with_defaults<'a>(
    figment: Figment,
    keys: impl Iterator<Item = &'a String> + Clone,
    variables: impl Iterator<Item = &'a String> + Clone,
) -> Figment {
    let figment = add(figment, "identity.oidc", &oidc::Options::default(), keys.clone(), variables.clone());
    add(figment, "identity.trusted", &trusted::Options::default(), keys, variables)
}

fn add<'a>(
    figment: Figment,
    table: &str,
    defaults: &impl Serialize,
    keys: impl Iterator<Item = &'a String>,
    variables: impl Iterator<Item = &'a String>,
) -> Figment {
    let fields = leaves(&Figment::from(Serialized::defaults(defaults)));
    let of_keys = keys.filter_map(|key| {
        let (name, _) = key.strip_prefix(table)?.strip_prefix('.')?.split_once('.')?;
        Some(name.to_owned())
    });
    let of_variables = variables.filter_map(|variable| name_of_variable(variable, table, &fields));
    let names: BTreeSet<String> = of_keys.chain(of_variables).collect();
    names.into_iter().fold(figment, |figment, name| {
        // A name with a dot would be two tables; checking the values refuses it.
        match name.contains('.') {
            true => figment,
            false => figment.merge(Serialized::default(&format!("{table}.{name}"), defaults)),
        }
    })
}

/// `WRIT_IDENTITY_OIDC_MY_IDP_CLIENT_ID` is the key `client_id` of `my_idp`. Of several fields that it may end in, the longest.
fn name_of_variable(variable: &str, table: &str, fields: &BTreeMap<String, Value>) -> Option<String> {
    let rest = variable.strip_prefix(&variable_of_key(table))?.strip_prefix('_')?.to_lowercase();
    let names = fields.keys().filter_map(|field| rest.strip_suffix(field.as_str())?.strip_suffix('_'));
    names.filter(|name| !name.is_empty()).min_by_key(|name| name.len()).map(str::to_owned)
}
