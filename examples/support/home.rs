//! Where the log is: in the file that was asked for, or in a fresh folder that goes away again.

use std::path::{Path, PathBuf};

use super::Failure;

pub(crate) struct Home {
    pub(crate) file: PathBuf,
    folder: Option<tempfile::TempDir>,
}

impl Home {
    /// The file that was asked for, or one named after the program.
    pub(crate) fn new(program: &str, file: Option<&Path>) -> Result<Self, Failure> {
        if let Some(file) = file {
            return Ok(Self { file: file.to_owned(), folder: None });
        }
        let folder = tempfile::tempdir()?;
        Ok(Self { file: folder.path().join(format!("{program}.boxoffice")), folder: Some(folder) })
    }

    /// The file, if it stays.
    pub(crate) fn kept(&self) -> Option<&Path> {
        self.folder.is_none().then_some(&self.file)
    }
}

/// The log is kept in a new file, in a folder that exists.
pub(crate) fn check_new(file: &Path) -> Result<(), String> {
    if file.symlink_metadata().is_ok() {
        return Err(format!("{} exists, and is left alone; name a file that does not", file.display()));
    }
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            Err(format!("there is no folder {}; create it first", folder.display()))
        }
        _ => Ok(()),
    }
}
