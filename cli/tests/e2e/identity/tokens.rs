//! Access tokens as others verify them.

use std::process::Command;

use reqwest::Method;
use serde_json::Value;

use super::guarded;
use crate::harness::python;

#[tokio::test]
async fn a_stock_library_verifies_tokens_by_the_jwks_alone() {
    let guarded = guarded().await;
    let person = guarded.person(&["staff"]).await;
    let url =
        guarded.client.request(Method::GET, "/.well-known/jwks.json").build().unwrap().url().to_string();
    let access = person.access.clone();
    let verified = tokio::task::spawn_blocking(move || {
        let python = python::environment("stock_verifier");
        let script = python::source("stock_verifier", "verify.py");
        let mut command = Command::new(python);
        python::run_with(command.arg(script).args([&url, "http://127.0.0.1:8080", "writ"]), &access)
    })
    .await
    .unwrap();
    let claims: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((claims["sub"].as_str(), claims["sid"].as_str()), (Some(&*person.id), Some(&*person.session)));
    assert_eq!(claims["roles"], serde_json::json!(["staff"]));
}
