//! `writ config`: what is in force, one line per key, and where each value came from.

use std::path::Path;
use std::process::ExitCode;

use figment::value::Value;

use super::load;
use super::load::Setting;
use crate::Failure;

/// Prints the configuration of this folder and environment.
pub(crate) fn run(file: Option<&Path>) -> Result<ExitCode, Failure> {
    let loaded = load(file, Vec::new())?;
    print!("{}", lines(&loaded.settings));
    Ok(ExitCode::SUCCESS)
}

/// `key = value  # origin`, aligned. Valid TOML when pasted into `writ.toml`.
pub(super) fn lines(settings: &[Setting]) -> String {
    let texts: Vec<(String, &str)> = settings
        .iter()
        .map(|setting| (format!("{} = {}", setting.key, value(setting)), setting.origin.as_str()))
        .collect();
    let width = texts.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0);
    texts.iter().map(|(text, origin)| format!("{text:width$}  # {origin}\n")).collect()
}

/// Keys whose values are secret as a whole.
const SECRET: [&str; 1] = ["identity.sealing_keys"];
/// The same in tables whose names are free.
const SECRET_ENDS: [&str; 1] = [".client_secret"];

fn value(setting: &Setting) -> String {
    match &setting.value {
        Value::String(_, text) if is_secret(&setting.key) && !text.is_empty() => "\"***\"".into(),
        value => shown(value),
    }
}

fn is_secret(key: &str) -> bool {
    SECRET.contains(&key) || SECRET_ENDS.iter().any(|end| key.ends_with(end))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{:?}", masked(text)),
        Value::Num(_, number) => match (number.to_i128(), number.to_u128(), number.to_f64()) {
            (Some(number), ..) => number.to_string(),
            (_, Some(number), _) => number.to_string(),
            (.., number) => number.map(|number| number.to_string()).unwrap_or_default(),
        },
        Value::Bool(_, flag) => flag.to_string(),
        Value::Array(_, items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Char(_, c) => format!("{:?}", c.to_string()),
        Value::Empty(..) | Value::Dict(..) => String::new(),
    }
}

/// Secrets of a URL replaced: the password, and parameters that may hold one.
fn masked(text: &str) -> String {
    let Ok(mut url) = url::Url::parse(text) else {
        // Not a URL by its syntax, yet it may hold a password before an `@`.
        return match (text.find("://"), text.rfind('@')) {
            (Some(scheme), Some(at)) if scheme < at => format!("{}***{}", &text[..scheme + 3], &text[at..]),
            _ => text.to_owned(),
        };
    };
    if url.cannot_be_a_base() {
        return text.to_owned();
    }
    let mut changed = false;
    if url.password().is_some() && url.set_password(Some("***")).is_ok() {
        changed = true;
    }
    let is_secret = |name: &str| ["password", "sslpassword", "sslkey", "token", "secret"].contains(&name);
    if url.query_pairs().any(|(name, _)| is_secret(&name)) {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| {
                let value = if is_secret(&name) { "***".to_owned() } else { value.into_owned() };
                (name.into_owned(), value)
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
        changed = true;
    }
    // Unchanged text stays as it was written.
    if changed { url.to_string() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked_and_nothing_else() {
        assert_eq!(masked("postgres://u:p%40ss@db:5432/app"), "postgres://u:***@db:5432/app");
        assert_eq!(
            masked("postgres://u@db/app?password=hunter2&a=b"),
            "postgres://u@db/app?password=***&a=b"
        );
        assert_eq!(masked("redis://:hunter2@cache"), "redis://:***@cache");
        assert_eq!(masked("smtps://u:hunter2@mail:465"), "smtps://u:***@mail:465");
        assert_eq!(
            masked("smtp://u%40x.org:hunter2@mail?tls=required"),
            "smtp://u%40x.org:***@mail?tls=required"
        );
        assert_eq!(masked("postgres://u:hunter2@db:port/app"), "postgres://***@db:port/app");
        for plain in
            ["127.0.0.1:9092", "http://127.0.0.1:8081/apis/ccompat/v7", "info,writ_api=debug", "writ"]
        {
            assert_eq!(masked(plain), plain);
        }
    }
}
