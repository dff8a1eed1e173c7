//! One stack: its folder, its ports, and the lock that keeps two commands from changing it at once.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::ports::{Ports, loopback};
use crate::process::{RunFile, write_atomically};
use crate::server::Server;

/// The root of the workspace: its `models/`, `Cargo.toml` and `.writ/` are used wherever the command is run.
pub(crate) fn workspace() -> PathBuf {
    // Cargo sets the variable also at run time; it is right when the checkout was moved after the build.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .filter(|dir| dir.join("native/pom.xml").is_file())
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    manifest.parent().expect("the package is a folder of the workspace").to_path_buf()
}

/// The programs of the servers, shared by every stack of this checkout.
pub(crate) fn servers() -> PathBuf {
    workspace().join(".writ/servers")
}

/// A stack in the folder `dir`, with its ports chosen.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    dir: PathBuf,
    pub(crate) ports: Ports,
    disposable: bool,
}

/// `stack.json`: what other programs read to find the servers.
#[derive(Debug, Serialize, Deserialize)]
struct StackFile {
    ports: Ports,
    /// Derived from the ports, for readers of the file.
    #[serde(default, skip_deserializing)]
    addresses: serde_json::Map<String, serde_json::Value>,
}

impl Stack {
    /// The stack in `dir` with the ports that its `stack.json` names, else the usual ones.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        Ok(Self { dir: absolute(dir)?, ports: last_ports(dir)?.unwrap_or_default(), disposable: false })
    }

    /// The stack in `dir` with `ports`.
    pub(crate) fn with_ports(dir: &Path, ports: Ports) -> Result<Self> {
        Ok(Self { ports, ..Self::open(dir)? })
    }

    /// The same stack, whose data is deleted when the command ends.
    pub(crate) fn disposable(self) -> Self {
        Self { disposable: true, ..self }
    }

    /// Whether the data is deleted anyway, so that it need not reach the disk.
    pub(crate) fn is_disposable(&self) -> bool {
        self.disposable
    }

    /// The folder of the stack, absolute.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where `server` keeps its data.
    pub(crate) fn data(&self, server: Server) -> PathBuf {
        self.dir.join("data").join(server.name())
    }

    /// The configuration files that the stack wrote for its servers.
    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.dir.join("config").join(name)
    }

    /// The log of a server, or of a build step.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    /// The run file of `server`.
    pub(crate) fn run_file(&self, server: Server) -> RunFile {
        RunFile::new(self.dir.join("run").join(format!("{}.json", server.name())))
    }

    /// Creates the folders and writes `stack.json`.
    pub(crate) fn save(&self) -> Result<()> {
        for folder in ["config", "data", "logs", "run"] {
            let folder = self.dir.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        self.save_ports(Some(self.ports))
    }

    /// Writes `stack.json`, or removes it: a stack without ports hasn't been started.
    pub(crate) fn save_ports(&self, ports: Option<Ports>) -> Result<()> {
        let path = self.dir.join("stack.json");
        let Some(ports) = ports else {
            return fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()));
        };
        let stack = Self { ports, ..self.clone() };
        let addresses = stack.environment().into_iter().map(|(name, value)| (name.to_owned(), value.into()));
        let file = StackFile { ports, addresses: addresses.collect() };
        write_atomically(&path, &serde_json::to_vec_pretty(&file)?)
    }

    /// Makes this command the only one that starts or stops servers of the stack, until the lock is dropped.
    ///
    /// # Errors
    /// Another command has the lock.
    pub(crate) fn lock(&self) -> Result<Flock<File>> {
        fs::create_dir_all(&self.dir).with_context(|| format!("cannot create {}", self.dir.display()))?;
        lock_file(&self.dir.join("lock")).with_context(|| {
            let dir = self.dir.display();
            format!(
                "another `cargo dev` is starting or stopping the stack in {dir}; try again when it is done"
            )
        })
    }

    /// The address of `server` as a person would type it.
    pub(crate) fn address(&self, server: Server) -> String {
        let port = server.port(&self.ports);
        match server {
            Server::Writ => self.base_url(),
            Server::Registry => self.registry_url(),
            Server::Postgres => self.postgres_url(),
            Server::Redis => format!("redis://{}", loopback(port)),
            Server::Kafka => loopback(port).to_string(),
        }
    }

    /// The URL of the HTTP API, without a slash at its end.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", loopback(self.ports.http))
    }

    fn registry_url(&self) -> String {
        format!("http://{}/apis/ccompat/v7", loopback(self.ports.registry))
    }

    fn postgres_url(&self) -> String {
        format!("postgres://postgres@{}/postgres", loopback(self.ports.postgres))
    }

    /// The `WRIT_*` variables that lead `writ`, the tests and the benchmarks to this stack.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("WRIT_HTTP_LISTEN", loopback(self.ports.http).to_string()),
            ("WRIT_KAFKA_BROKERS", self.address(Server::Kafka)),
            ("WRIT_REGISTRY_URL", self.address(Server::Registry)),
            ("WRIT_POSTGRES_URL", self.address(Server::Postgres)),
            ("WRIT_REDIS_URL", self.address(Server::Redis)),
        ]
    }
}

/// Locks the file `path`, created if needed, until the result is dropped or the process ends.
///
/// # Errors
/// Another process has the lock.
pub(crate) fn lock_file(path: &Path) -> Result<Flock<File>> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| error)
        .with_context(|| format!("cannot lock {}", path.display()))
}

/// The ports in the `stack.json` of `dir`, if there is one.
pub(crate) fn last_ports(dir: &Path) -> Result<Option<Ports>> {
    let path = dir.join("stack.json");
    let Ok(content) = fs::read(&path) else { return Ok(None) };
    let file: StackFile = serde_json::from_slice(&content).with_context(|| {
        format!("{} is not what `cargo dev` wrote; delete it to start with the usual ports", path.display())
    })?;
    Ok(Some(file.ports))
}

fn absolute(dir: &Path) -> Result<PathBuf> {
    std::path::absolute(dir).with_context(|| format!("cannot tell where {} is", dir.display()))
}

/// Deletes a folder with all that is in it, if it is there.
pub(crate) fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stack_json_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("a stack");
        assert_eq!(last_ports(&dir).unwrap(), None);
        let ports = Ports { kafka: 1, kafka_controller: 2, ..Ports::default() };
        Stack::with_ports(&dir, ports).unwrap().save().unwrap();
        assert_eq!(Stack::open(&dir).unwrap().ports, ports);
        let json: serde_json::Value =
            serde_json::from_slice(&fs::read(dir.join("stack.json")).unwrap()).unwrap();
        assert_eq!(json["addresses"]["WRIT_KAFKA_BROKERS"], "127.0.0.1:1");
    }

    #[test]
    fn a_damaged_stack_json_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("stack.json"), "{").unwrap();
        let error = Stack::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("stack.json"), "{error}");
    }

    #[test]
    fn one_command_at_a_time_changes_a_stack() {
        let folder = tempfile::tempdir().unwrap();
        let stack = Stack::open(folder.path()).unwrap();
        let lock = stack.lock().unwrap();
        assert!(stack.lock().is_err());
        drop(lock);
        stack.lock().unwrap();
    }
}
