//! Who the development stack is for its own server: the keys, an administrator for the person in front of it, and an API key for
//! the tools. All are made with the stack's data and go with it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::prerequisites::Tools;
use crate::stack::{Stack, workspace};

/// By what the administrator signs in. The domain is nobody's (RFC 2606).
pub(crate) const EMAIL: &str = "admin@example.org";
/// The role that the rules of the sample ask for.
const ROLE: &str = "staff";
/// Limit of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the server finds its keys.
pub(crate) fn keys(stack: &Stack) -> PathBuf {
    stack.dir().join("data/keys")
}

/// Where the tools' API key is.
pub(crate) fn api_key_file(stack: &Stack) -> PathBuf {
    stack.dir().join("data/api-key")
}

/// The API key of the tools, once [`make`] has made it.
pub(crate) fn api_key(stack: &Stack) -> Option<String> {
    fs::read_to_string(api_key_file(stack)).ok().map(|key| key.trim().to_owned())
}

/// Makes the server's keys, before its first start.
pub(crate) async fn make_keys(stack: &Stack, tools: &Tools) -> Result<()> {
    writ(stack, tools, &["keys", "init", "--if-missing"]).await.map(drop)
}

/// Makes the administrator and the API key, unless they are there. The password, if it is a new one.
pub(crate) async fn make(stack: &Stack, tools: &Tools) -> Result<Option<String>> {
    if api_key(stack).is_some() {
        return Ok(None);
    }
    let made = match writ(stack, tools, &["admin", "create", EMAIL]).await {
        Ok(text) => text,
        // A start that was cut off has made the account, and nobody has seen its password.
        Err(_) => writ(stack, tools, &["admin", "password", EMAIL]).await?,
    };
    let password = made.lines().find_map(|line| line.strip_prefix("password: "));
    let password = password.context("`writ admin` has shown no password")?.to_owned();
    let key = sign_in(&stack.base_url(), &password).await.context("cannot make the API key of the tools")?;
    let path = api_key_file(stack);
    let mut options = fs::OpenOptions::new();
    let written = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
    written
        .and_then(|mut file| file.write_all(format!("{key}\n").as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Some(password))
}

/// Signs in, makes the role of the sample and the API key.
async fn sign_in(url: &str, password: &str) -> Result<String> {
    let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build()?;
    let post = async |path: &str, token: Option<&str>, body: Value| -> Result<(u16, Value)> {
        let mut request = client.post(format!("{url}{path}")).json(&body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok((status, response.json().await?))
    };
    // The read model learns of the account a moment after the decider.
    let mut tries = 20;
    let token = loop {
        let asked = post("/v1/auth/sign-in", None, json!({ "email": EMAIL, "password": password })).await?;
        match asked {
            (200, answer) => break answer["access_token"].as_str().unwrap_or_default().to_owned(),
            (401, _) if tries > 0 => tries -= 1,
            (status, answer) => bail!("the sign-in was answered with {status}: {answer}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let role = json!({ "name": ROLE, "description": "Who works in the sample shop." });
    match post("/v1/role/create", Some(&token), role).await? {
        (201 | 409, _) => {}
        (status, answer) => bail!("the role `{ROLE}` was answered with {status}: {answer}"),
    }
    let key = json!({ "name": "cargo dev", "scopes": ["*"] });
    match post("/v1/auth/api-keys", Some(&token), key).await? {
        (201, answer) => Ok(answer["key"].as_str().unwrap_or_default().to_owned()),
        (status, answer) => bail!("the API key was answered with {status}: {answer}"),
    }
}

/// What a tool of `writ` says.
async fn writ(stack: &Stack, tools: &Tools, arguments: &[&str]) -> Result<String> {
    let program = tools.writ().context("`writ` is not built")?;
    let output = Command::new(program)
        .args(arguments)
        .envs(stack.environment())
        .env("WRIT_MODELS", workspace().join("models"))
        .env("WRIT_IDENTITY_KEYS", keys(stack))
        .current_dir(workspace())
        .output()
        .await
        .with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        bail!(
            "`writ {}` failed ({}):\n{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
