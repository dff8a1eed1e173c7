//! The provider: panva's `oidc-provider`, run by node, from `tests/oidc_provider`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::Mutex;

use crate::harness::LIMIT;
use crate::harness::client::send;

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
        let script = installed().await.join("provider.mjs");
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

/// The folder with the script and what it needs, made once below the target folder.
async fn installed() -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let _turn = ONE_AT_A_TIME.lock().await;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc_provider");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oidc-provider");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["package.json", "package-lock.json", "provider.mjs"] {
        std::fs::copy(source.join(name), folder.join(name)).unwrap();
    }
    let wanted = std::fs::read_to_string(source.join("package-lock.json")).unwrap();
    // Written last, so a half-made folder is made again.
    let mark = folder.join("installed.json");
    if !std::fs::read_to_string(&mark).is_ok_and(|text| text == wanted) {
        let install = || {
            let arguments = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
            let output = Command::new("npm").args(arguments).current_dir(&folder).output();
            let output =
                output.unwrap_or_else(|error| panic!("{error}: this test needs Node.js 20 or newer"));
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "npm failed; it needs, once, the npm registry.\n{stderr}");
        };
        tokio::task::block_in_place(install);
        std::fs::write(&mark, wanted).unwrap();
    }
    folder
}
