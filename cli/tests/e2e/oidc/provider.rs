//! The provider: panva's `oidc-provider`, run by node, from `tests/oidc_provider`.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::harness::client::send;
use crate::harness::{LIMIT, node};

/// Killed on drop.
#[derive(Debug)]
pub(super) struct Provider {
    child: Child,
    pub(super) issuer: String,
    http: reqwest::Client,
}

impl Provider {
    /// With one client, whom it sends back to any of these addresses.
    pub(super) async fn start(redirects: &[String]) -> Provider {
        let script = node::installed("oidc_provider").await.join("provider.mjs");
        let mut child = tokio::process::Command::new("node")
            .arg(script)
            .args(redirects)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await.expect("the provider starts");
        let issuer = line.unwrap().expect("the provider says where it is");
        Provider { child, issuer, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    /// Other keys from now on.
    pub(super) async fn turn_keys(&self) {
        send(self.http.post(format!("{}/test/turn-keys", self.issuer))).await.expect(200);
    }

    /// A JWT, see `sign` in the script.
    pub(super) async fn sign(&self, what: &Value) -> String {
        let request = self.http.post(format!("{}/test/sign", self.issuer)).json(what);
        send(request).await.expect(200).text
    }

    pub(super) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }
}
