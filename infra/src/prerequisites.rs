//! What the machine must have before anything can be built or started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::writ;

/// The oldest Java that the registry runs on.
const JAVA: u32 = 21;

/// The programs that the stack is started with.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    java_home: PathBuf,
    writ: Option<PathBuf>,
    open: bool,
}

impl Tools {
    /// The `java` to run servers with.
    pub(crate) fn java(&self) -> PathBuf {
        self.java_home.join("bin/java")
    }

    /// The home of the JDK, for `JAVA_HOME`.
    pub(crate) fn java_home(&self) -> &Path {
        &self.java_home
    }

    /// The same tools, and `writ` as just built.
    pub(crate) fn with_writ(self, writ: PathBuf) -> Self {
        Self { writ: Some(writ), ..self }
    }

    /// The same tools, and whether `writ` serves everyone.
    pub(crate) fn with_open(self, open: bool) -> Self {
        Self { open, ..self }
    }

    /// Whether `writ` serves everyone, without a sign-in.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// The `writ` program, when it was built.
    pub(crate) fn writ(&self) -> Option<&Path> {
        self.writ.as_deref()
    }

    /// Tells the build of `writ` from other builds of it.
    pub(crate) fn writ_version(&self) -> Option<String> {
        self.writ().and_then(writ::version)
    }
}

/// One thing that isn't there, and the line that installs it.
#[derive(Debug)]
struct Missing {
    what: String,
    debian: &'static str,
    macos: &'static str,
}

/// Looks for everything that is needed.
///
/// # Errors
/// Names all that is missing at once, each with the line that installs it.
pub(crate) fn find() -> Result<Tools> {
    let jdks = jdks();
    let newest = jdks.iter().max_by_key(|(version, home)| (*version, preferred(home)));
    let mut missing = Vec::new();
    if !runs("cc") || !runs("make") {
        missing.push(Missing {
            what: "a C compiler and make (`cc`, `make`), which build Kafka's client".into(),
            debian: "sudo apt-get install -y build-essential",
            macos: "xcode-select --install",
        });
    }
    let java_home = match newest {
        Some((version, home)) if *version >= JAVA => home.clone(),
        found => {
            let found = found.map_or_else(String::new, |(version, home)| {
                format!("; the newest here is {version}, in {}", home.display())
            });
            missing.push(Missing {
                what: format!("a JDK, version {JAVA} or newer, which runs Kafka and the schema registry{found}"),
                debian: "sudo apt-get install -y openjdk-21-jdk-headless   (Debian 12: temurin-21-jdk, from Adoptium's \
                         package repository)",
                macos: "brew install openjdk@21",
            });
            PathBuf::new()
        }
    };
    if !runs("mvn") {
        missing.push(Missing {
            what: "Maven (`mvn`), which fetches the servers".into(),
            debian: "sudo apt-get install -y maven",
            macos: "brew install maven",
        });
    }
    if missing.is_empty() {
        Ok(Tools { java_home, writ: None, open: false })
    } else {
        bail!("{}", report(&missing))
    }
}

fn report(missing: &[Missing]) -> String {
    let mut text = String::from("this machine lacks what the stack needs:");
    for Missing { what, debian, macos } in missing {
        text.push_str(&format!("\n  - {what}\n      Debian, Ubuntu: {debian}\n      macOS: {macos}"));
    }
    text
}

fn runs(program: &str) -> bool {
    let version = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// Every JDK in the usual places, with its feature version.
fn jdks() -> Vec<(u32, PathBuf)> {
    let mut homes: Vec<PathBuf> = std::env::var_os("JAVA_HOME").map(PathBuf::from).into_iter().collect();
    homes.extend(folders_in("/usr/lib/jvm"));
    homes.extend(
        folders_in("/Library/Java/JavaVirtualMachines").into_iter().map(|jdk| jdk.join("Contents/Home")),
    );
    for brew in ["/opt/homebrew/opt", "/usr/local/opt"] {
        homes.extend(
            folders_in(brew)
                .into_iter()
                .filter(|dir| {
                    dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("openjdk"))
                })
                .map(|dir| dir.join("libexec/openjdk.jdk/Contents/Home")),
        );
    }
    if let Some(path) = std::env::var_os("PATH") {
        let javas = std::env::split_paths(&path).filter_map(|dir| dir.join("java").canonicalize().ok());
        homes.extend(javas.filter_map(|java| Some(java.parent()?.parent()?.to_path_buf())));
    }
    homes.retain(|home| home.join("bin/java").is_file());
    homes.into_iter().filter_map(|home| Some((java_version(&home)?, home))).collect()
}

/// Between two JDKs of one version the one that the user chose is taken.
fn preferred(home: &Path) -> bool {
    std::env::var_os("JAVA_HOME").is_some_and(|chosen| home == Path::new(&chosen))
}

fn folders_in(dir: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// The feature version, from the file `release` that every JDK has.
fn java_version(home: &Path) -> Option<u32> {
    feature_version(&fs::read_to_string(home.join("release")).ok()?)
}

fn feature_version(release: &str) -> Option<u32> {
    let line = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    let version = line.trim().trim_matches('"');
    // Up to Java 8 the version began with "1.".
    let version = version.strip_prefix("1.").unwrap_or(version);
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_java_are_read() {
        assert_eq!(feature_version("IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"25.0.3\"\n"), Some(25));
        assert_eq!(feature_version("JAVA_VERSION=\"1.8.0_392\""), Some(8));
        assert_eq!(feature_version("JAVA_VERSION=\"26-ea\""), Some(26));
        assert_eq!(feature_version("OS_NAME=\"Linux\""), None);
    }

    #[test]
    fn everything_missing_is_named_at_once() {
        let one = |what: &str| Missing { what: what.into(), debian: "apt", macos: "brew" };
        let report = report(&[one("a C compiler"), one("Maven")]);
        assert_eq!(
            report,
            "this machine lacks what the stack needs:\n  - a C compiler\n      Debian, Ubuntu: apt\n      macOS: brew\n  \
             - Maven\n      Debian, Ubuntu: apt\n      macOS: brew"
        );
    }
}
