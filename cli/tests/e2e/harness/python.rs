//! Programs in Python that look at the system as others do, each in an environment of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A file beside the requirements of an environment.
pub(crate) fn source(environment: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(environment).join(name)
}

/// The Python of an environment with the packages of its `requirements.txt`, made once below the target folder.
pub(crate) fn environment(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = folder.join("bin/python");
    let requirements = std::fs::read_to_string(source(name, "requirements.txt")).unwrap();
    // Written last, so a half-made environment is made again.
    let installed = folder.join("installed.txt");
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == requirements) {
        return python;
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(source(name, "requirements.txt")));
    std::fs::write(&installed, requirements).unwrap();
    python
}

/// Runs it to its end, which is a success.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    finish(spawn(command, Stdio::null()), command)
}

/// The same with a text on its standard input.
#[track_caller]
pub(crate) fn run_with(command: &mut Command, input: &str) -> Output {
    let child = spawn(command, Stdio::piped()).map(|mut child| {
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child
    });
    finish(child, command)
}

fn spawn(command: &mut Command, input: Stdio) -> std::io::Result<Child> {
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

#[track_caller]
fn finish(child: std::io::Result<Child>, command: &Command) -> Output {
    let output = child.and_then(Child::wait_with_output).unwrap_or_else(|error| {
        panic!("{command:?}: {error}. This test needs Python 3 with venv: `apt-get install python3-venv`, or `brew install python`")
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} failed. This test needs Python 3 with venv (`apt-get install python3-venv`, or `brew install \
         python`) and, once, the Python package index.\n{stderr}"
    );
    output
}
