//! The TypeScript client, `api/client-ts`, by its own checks: lint, types, unit tests, and those against a real server, in Node.js
//! and in a browser.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::people::Guarded;
use crate::harness::world;

const TODO: &str = include_str!("../../../api/client-ts/tests/integration/todo.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn it_passes_its_own_checks() {
    let redis = world::address("WRIT_REDIS_URL");
    let app = Guarded::start_with(&[("todo.yaml", TODO)], &[("WRIT_REDIS_URL", &redis)]).await;
    let (url, token) = (app.client.base().to_owned(), app.admin.access.clone());
    let output = tokio::task::spawn_blocking(move || {
        let folder = installed();
        let mut npm = npm(&folder);
        npm.args(["run", "check"]).env("WRIT_URL", url).env("WRIT_TOKEN", token).output().unwrap()
    });
    let output = output.await.unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    eprintln!("{said}");
    assert!(output.status.success(), "`npm run check` in api/client-ts failed");
}

/// The package's folder, with what it needs to be checked.
fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/client-ts");
    let wanted = std::fs::read_to_string(folder.join("package-lock.json")).unwrap();
    // Written last, so a half-made folder is made again.
    let mark = folder.join("node_modules/.installed.json");
    if !std::fs::read_to_string(&mark).is_ok_and(|text| text == wanted) {
        let arguments = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
        let output = npm(&folder).args(arguments).output();
        let output =
            output.unwrap_or_else(|error| panic!("{error}: this test needs Node.js 20 or newer with npm"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "npm failed; it needs, once, the npm registry.\n{stderr}");
        std::fs::write(&mark, wanted).unwrap();
    }
    folder
}

fn npm(folder: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(folder).env("NO_COLOR", "1").stdin(std::process::Stdio::null());
    npm
}
