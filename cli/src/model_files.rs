//! Reads the folder of model files. What can't be read is a finding like any other, so one bad file hides no other.

use std::io::Read;
use std::path::{Path, PathBuf};

use writ_model::diagnostic::Source;

/// No model is this large; a file that is, isn't one.
const MAX_BYTES: u64 = 1024 * 1024;

/// There is no folder to read.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the folder of model files {} can't be read: {detail}", path.display())]
#[diagnostic(help("Name an existing folder, or set `models` in writ.toml."))]
pub(crate) struct Error {
    path: PathBuf,
    detail: String,
}

/// All model files of a folder and the folders in it, sorted by path.
#[derive(Debug)]
pub(crate) struct ModelFiles {
    /// Name: the path relative to the folder.
    pub(crate) sources: Vec<Source>,
    /// What couldn't be read.
    pub(crate) unreadable: Vec<Unreadable>,
}

/// A file or folder that couldn't be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// Relative to the folder.
    pub(crate) name: String,
    /// What is wrong.
    pub(crate) message: String,
    /// What would be right.
    pub(crate) hint: &'static str,
}

/// Reads every `*.yaml` and `*.yml` below `folder`.
pub(crate) fn read(folder: &Path) -> Result<ModelFiles, Error> {
    let failed = |error: std::io::Error| Error { path: folder.to_owned(), detail: error.to_string() };
    let root = folder.canonicalize().map_err(failed)?;
    if !root.is_dir() {
        return Err(Error { path: folder.to_owned(), detail: "it isn't a folder".into() });
    }
    std::fs::read_dir(&root).map_err(failed)?;

    let mut files = ModelFiles { sources: Vec::new(), unreadable: Vec::new() };
    files.walk(&root, &PathBuf::new(), &mut vec![root.clone()]);
    files.sources.sort_by(|a, b| a.name.cmp(&b.name));
    files.unreadable.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

impl ModelFiles {
    /// `above`: the real paths of the folders that lead here; a link back to one of them would never end.
    fn walk(&mut self, root: &Path, relative: &Path, above: &mut Vec<PathBuf>) {
        let entries = match std::fs::read_dir(root.join(relative)) {
            Ok(entries) => entries,
            Err(error) => return self.failed(relative, &error),
        };
        for entry in entries {
            let name = match entry {
                Ok(entry) => entry.file_name(),
                Err(error) => {
                    self.failed(relative, &error);
                    continue;
                }
            };
            // Hidden files are editors' and version control's.
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let relative = relative.join(name);
            let path = root.join(&relative);
            let is_model =
                relative.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            let metadata = match std::fs::metadata(&path) {
                Ok(metadata) => metadata,
                // A broken link that isn't named like a model is none of ours.
                Err(_) if !is_model => continue,
                Err(error) => {
                    self.failed(&relative, &error);
                    continue;
                }
            };
            if metadata.is_dir() {
                match path.canonicalize() {
                    Ok(real) if above.contains(&real) => self.refused(
                        &relative,
                        "the link leads back to a folder above it".into(),
                        "Remove the link.",
                    ),
                    Ok(real) => {
                        above.push(real);
                        self.walk(root, &relative, above);
                        above.pop();
                    }
                    Err(error) => self.failed(&relative, &error),
                }
            } else if is_model && !metadata.is_file() {
                // Opening a pipe would wait for its writer.
                self.refused(&relative, "it isn't a regular file".into(), "Put a file of text in its place.");
            } else if is_model {
                self.read_file(&path, &relative);
            }
        }
    }

    fn read_file(&mut self, path: &Path, relative: &Path) {
        let mut bytes = Vec::new();
        let read =
            std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            return self.failed(relative, &error);
        }
        if bytes.len() as u64 > MAX_BYTES {
            let hint = "Split it into one file per model, and keep data out of the models folder.";
            return self.refused(relative, "it is larger than 1 MiB".into(), hint);
        }
        match String::from_utf8(bytes) {
            Ok(text) => self.sources.push(Source { name: name_of(relative), text }),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let line = 1 + error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count();
                let byte = error.as_bytes()[valid];
                let message = format!("it isn't UTF-8 text: line {line} has the byte 0x{byte:02x}");
                self.refused(relative, message, "Save the file as UTF-8.");
            }
        }
    }

    fn failed(&mut self, relative: &Path, error: &std::io::Error) {
        self.refused(relative, format!("it can't be read: {error}"), "Correct the path or its permissions.");
    }

    fn refused(&mut self, relative: &Path, message: String, hint: &'static str) {
        self.unreadable.push(Unreadable { name: name_of(relative), message, hint });
    }
}

/// With `/` on every system, so that messages and tests are the same everywhere.
fn name_of(relative: &Path) -> String {
    let parts: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_model_file_is_read_in_order_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("sub/sample")).unwrap();
        for name in ["b.yaml", "a.yml", "sub/c.yaml", ".hidden.yaml", "notes.txt", "sub/sample/orders.csv"] {
            fs::write(path(name), name).unwrap();
        }
        let files = read(folder.path()).unwrap();
        let names: Vec<_> = files.sources.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["a.yml", "b.yaml", "sub/c.yaml"]);
        assert_eq!(files.sources[2].text, "sub/c.yaml");
        assert_eq!(files.unreadable, []);
    }

    #[test]
    #[cfg(unix)]
    fn what_cannot_be_read_is_a_finding() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        std::os::unix::fs::symlink("..", path("sub/loop")).unwrap();
        std::os::unix::fs::symlink("nowhere", path("gone.yaml")).unwrap();
        fs::create_dir(path("folder.yaml")).unwrap();
        fs::write(path("latin1.yaml"), b"a: 1\nb: \xe9\n").unwrap();
        fs::write(path("huge.yaml"), vec![b'#'; MAX_BYTES as usize + 1]).unwrap();
        fs::write(path("largest.yaml"), vec![b'#'; MAX_BYTES as usize]).unwrap();

        let files = read(folder.path()).unwrap();
        assert_eq!(files.sources.len(), 1);
        let found: Vec<_> =
            files.unreadable.iter().map(|entry| format!("{}: {}", entry.name, entry.message)).collect();
        assert_eq!(
            found,
            [
                "gone.yaml: it can't be read: No such file or directory (os error 2)",
                "huge.yaml: it is larger than 1 MiB",
                "latin1.yaml: it isn't UTF-8 text: line 2 has the byte 0xe9",
                "sub/loop: the link leads back to a folder above it",
            ]
        );
    }

    #[test]
    fn no_folder_is_an_error() {
        assert!(read(Path::new("/nonexistent/models")).is_err());
        assert!(read(Path::new("/dev/null")).is_err());
    }
}
