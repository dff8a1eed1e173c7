//! Programs of others, from the Python package index: each folder `cli/tests/NAME` with a `requirements.txt` has an environment.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A file of `cli/tests/NAME`.
pub(crate) fn source(name: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name).join(file)
}

/// Its output, if it ends well.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| {
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

/// The Python of an environment with what `cli/tests/NAME/requirements.txt` names, made once below the target folder.
pub(crate) fn environment(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = folder.join("bin/python");
    let requirements = source(name, "requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).unwrap();
    // Written last, so a half-made environment is made again.
    let installed = folder.join("installed.txt");
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return python;
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements));
    std::fs::write(&installed, wanted).unwrap();
    python
}
