//! The files of the keys: `signing.json` signs access tokens, `sealing.keys` seals secrets. Every server of an application
//! has the same ones, on a shared folder or as copies. They are read again when they change, so that a rotation needs no restart.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;
use writ_identity::keys::{Key, KeyRing, Schedule};
use writ_identity::seal::{Place, SealingKeys};
use writ_model::{Command, Timestamp};
use writ_producers::envelope::CommandRecord;

use super::Options;
use crate::clock::now;

const SIGNING: &str = "signing.json";
const SEALING: &str = "sealing.keys";
/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(10);

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No file where one must be.
    #[error(
        "there are no keys in {}: make them with `writ keys init`, once for all servers of the application, and keep a \
         copy of them where nobody else reads it; without the sealing key no password can be checked any more",
        folder.display()
    )]
    Missing {
        /// As configured.
        folder: PathBuf,
    },
    /// There are some already.
    #[error("{} is there already; a new key is added with `writ keys rotate`", path.display())]
    Present {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be read or written.
    #[error("the key file {} can't be used: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Its content.
    #[error("{origin}: {detail}")]
    Content {
        /// The file or the configuration's key.
        origin: String,
        /// What is wrong; no part of a key.
        detail: String,
    },
}

/// The keys in use; all clones are one.
#[derive(Debug, Clone)]
pub struct Keys {
    folder: PathBuf,
    /// The configuration gives the sealing keys.
    sealing_is_given: bool,
    signing: Arc<RwLock<Arc<KeyRing>>>,
    sealing: Arc<RwLock<Arc<SealingKeys>>>,
}

impl Keys {
    /// Reads the files.
    ///
    /// # Errors
    /// Why they can't be used.
    pub fn load(options: &Options) -> Result<Keys, Error> {
        let sealing = match options.sealing_keys.as_str() {
            "" => read_sealing(&options.keys)?,
            text => sealing_keys("identity.sealing_keys", text)?,
        };
        Ok(Keys {
            folder: options.keys.clone(),
            sealing_is_given: !options.sealing_keys.is_empty(),
            signing: Arc::new(RwLock::new(Arc::new(read_signing(&options.keys)?))),
            sealing: Arc::new(RwLock::new(Arc::new(sealing))),
        })
    }

    /// Those that sign tokens.
    pub fn signing(&self) -> Arc<KeyRing> {
        self.signing.read().clone()
    }

    /// Those that seal secrets.
    pub fn sealing(&self) -> Arc<SealingKeys> {
        self.sealing.read().clone()
    }

    /// Seals the secrets in a command's input. A repeat with the same idempotency key seals alike.
    pub fn seal(&self, command: &Command, record: &mut CommandRecord) {
        let keys = self.sealing();
        let CommandRecord { id, model, aggregate, input, idempotent, .. } = record;
        command.seal(input, |field, text| {
            let place = Place { model, aggregate: *aggregate, field: field.wire_name() };
            match *idempotent {
                true => keys.seal_repeatably(place, *id, text.as_bytes()),
                false => keys.seal(place, text.as_bytes()),
            }
        });
    }

    /// Reads changed files until `cancel`. One that can't be used leaves what is in use.
    pub async fn watch(&self, cancel: CancellationToken) {
        while cancel.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let keys = self.clone();
            let looked = tokio::task::spawn_blocking(move || keys.read_again()).await;
            match looked {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, "the keys can't be read again; the present ones stay in use")
                }
                Err(error) => tracing::error!(%error, "looking at the keys failed"),
            }
        }
    }

    fn read_again(&self) -> Result<(), Error> {
        *self.signing.write() = Arc::new(read_signing(&self.folder)?);
        if !self.sealing_is_given {
            *self.sealing.write() = Arc::new(read_sealing(&self.folder)?);
        }
        Ok(())
    }
}

/// Makes the first keys of an application. What was made of them: the paths.
///
/// # Errors
/// There are some, or they can't be written.
pub fn init(options: &Options) -> Result<Vec<PathBuf>, Error> {
    let made = init_missing(options)?;
    match made.is_empty() {
        true => Err(Error::Present { path: options.keys.join(SIGNING) }),
        false => Ok(made),
    }
}

/// Makes those that are missing, also while another process does the same: both then find the same ones.
///
/// # Errors
/// They can't be written.
pub fn init_missing(options: &Options) -> Result<Vec<PathBuf>, Error> {
    let folder = &options.keys;
    std::fs::create_dir_all(folder).map_err(|source| Error::File { path: folder.clone(), source })?;
    let mut made = Vec::new();
    let mut make = |name, text: &str| {
        let path = folder.join(name);
        match write(&path, text, false) {
            Ok(()) => made.push(path),
            Err(Error::Present { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    };
    make(SIGNING, &KeyRing::new(Key::generate(now())).to_json())?;
    if options.sealing_keys.is_empty() {
        make(SEALING, &SealingKeys::generate())?;
    }
    Ok(made)
}

/// Adds the next signing key if it is time, or anyway, and a sealing key if that is wanted. What was changed: the paths.
///
/// # Errors
/// The files can't be used.
pub fn rotate(options: &Options, sealing: bool) -> Result<Vec<PathBuf>, Error> {
    let (folder, mut changed) = (&options.keys, Vec::new());
    if let Some(ring) = read_signing(folder)?.rotated(now(), &Schedule::default()) {
        let path = folder.join(SIGNING);
        write(&path, &ring.to_json(), true)?;
        changed.push(path);
    }
    if sealing {
        let path = folder.join(SEALING);
        let text = read(&path)?;
        let text = zeroize::Zeroizing::new(format!("{}\n{}", *SealingKeys::generate(), *text));
        write(&path, &text, true)?;
        changed.push(path);
    }
    Ok(changed)
}

/// When the next signing key is due.
///
/// # Errors
/// The file can't be used.
pub fn rotation_due(options: &Options) -> Result<Timestamp, Error> {
    Ok(read_signing(&options.keys)?.rotation_due(&Schedule::default()))
}

fn read(path: &Path) -> Result<zeroize::Zeroizing<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(zeroize::Zeroizing::new(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Error::Missing { folder: path.parent().unwrap_or(path).to_owned() })
        }
        Err(source) => Err(Error::File { path: path.to_owned(), source }),
    }
}

fn read_signing(folder: &Path) -> Result<KeyRing, Error> {
    let path = folder.join(SIGNING);
    KeyRing::from_json(&read(&path)?)
        .map_err(|error| Error::Content { origin: path.display().to_string(), detail: error.to_string() })
}

fn read_sealing(folder: &Path) -> Result<SealingKeys, Error> {
    let path = folder.join(SEALING);
    sealing_keys(&path.display().to_string(), &read(&path)?)
}

fn sealing_keys(origin: &str, text: &str) -> Result<SealingKeys, Error> {
    SealingKeys::parse(text)
        .map_err(|error| Error::Content { origin: origin.to_owned(), detail: error.to_string() })
}

/// A reader finds the old file or the new one, never half of one; nobody else may read it, from its first byte on.
fn write(path: &Path, text: &str, replace: bool) -> Result<(), Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let mut beside = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(path)).map_err(failed)?;
    beside.write_all(text.as_bytes()).and_then(|()| beside.as_file().sync_all()).map_err(failed)?;
    let written = if replace { beside.persist(path) } else { beside.persist_noclobber(path) };
    match written {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
            Err(Error::Present { path: path.to_owned() })
        }
        Err(error) => Err(failed(error.error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(folder: &Path) -> Options {
        Options { keys: folder.join("keys"), ..Options::default() }
    }

    #[test]
    fn keys_are_made_once_and_for_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        assert!(matches!(Keys::load(&options), Err(Error::Missing { .. })));
        let made = init(&options).unwrap();
        assert_eq!(made.len(), 2);
        for path in &made {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        let keys = Keys::load(&options).unwrap();
        assert_eq!(keys.sealing().ids().count(), 1);
        assert!(matches!(init(&options), Err(Error::Present { .. })));
    }

    #[test]
    fn a_new_sealing_key_opens_what_the_old_one_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        init(&options).unwrap();
        let keys = Keys::load(&options).unwrap();
        let place = Place { model: "a", aggregate: uuid::Uuid::nil(), field: "b" };
        let sealed = keys.sealing().seal(place, b"x");
        // The signing key is new, so it isn't its time.
        assert_eq!(rotate(&options, true).unwrap(), [options.keys.join(SEALING)]);
        keys.read_again().unwrap();
        assert!(keys.sealing().needs_resealing(&sealed));
        assert_eq!(**keys.sealing().open(place, &sealed).unwrap(), *b"x");
    }

    #[test]
    fn a_broken_file_leaves_the_keys_that_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        init(&options).unwrap();
        let keys = Keys::load(&options).unwrap();
        std::fs::write(options.keys.join(SIGNING), "{}").unwrap();
        let error = keys.read_again().unwrap_err();
        assert!(error.to_string().contains(SIGNING), "{error}");
        assert!(keys.signing().signing(now()).is_some());
    }
}
