//! Programs in JavaScript, each in a folder of its own with its packages.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::sync::Mutex;

/// The folder of an environment with its files and the packages of its `package-lock.json`, made once below the target folder.
pub(crate) async fn installed(environment: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let _turn = ONE_AT_A_TIME.lock().await;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(environment);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(environment.replace('_', "-"));
    std::fs::create_dir_all(&folder).unwrap();
    for file in std::fs::read_dir(&source).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
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

/// Runs a script with a text on its standard input to its end, which is a success.
pub(crate) fn run_with(script: &Path, input: &str) {
    let mut command = Command::new("node");
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("{error}: this test needs Node.js 20 or newer"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?} failed.\n{}", String::from_utf8_lossy(&output.stderr));
}
