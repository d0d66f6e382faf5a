//! A copy of the working tree, beside its own build folder. A second run copies what has changed only, so that cargo
//! builds again what has changed only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use espalier_tests::Result;

/// The copy.
#[derive(Debug)]
pub(crate) struct Tree {
    repository: PathBuf,
    copy: PathBuf,
    build: PathBuf,
}

impl Tree {
    /// Copies what git knows of and what it does not ignore.
    ///
    /// Errors: those of git and of the file system.
    pub(crate) fn copy(repository: &Path) -> Result<Self> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository.join("target"), PathBuf::from);
        let tree = Self {
            repository: repository.to_path_buf(),
            copy: target.join("mutants/tree"),
            build: target.join("mutants/build"),
        };
        let files = tree.files()?;
        for file in &files {
            let from = std::fs::read(repository.join(file)).with_context(|| file.clone())?;
            let to = tree.copy.join(file);
            if std::fs::read(&to).ok().as_ref() != Some(&from) {
                std::fs::create_dir_all(to.parent().unwrap_or(&tree.copy))?;
                std::fs::copy(repository.join(file), &to).with_context(|| to.display().to_string())?;
            }
        }
        tree.remove_others(&files)?;
        Ok(tree)
    }

    /// Returns the folder of the copy.
    pub(crate) fn folder(&self) -> &Path {
        &self.copy
    }

    /// Returns the folder for its build.
    pub(crate) fn build(&self) -> &Path {
        &self.build
    }

    /// Reads a file as it was copied: from where it was copied.
    pub(crate) fn original(&self, file: &str) -> Result<String> {
        std::fs::read_to_string(self.repository.join(file)).with_context(|| file.to_owned())
    }

    /// Reads a file of the copy.
    pub(crate) fn current(&self, file: &str) -> Result<String> {
        std::fs::read_to_string(self.copy.join(file)).with_context(|| file.to_owned())
    }

    /// Writes a file of the copy.
    pub(crate) fn write(&self, file: &str, text: &str) -> Result<()> {
        std::fs::write(self.copy.join(file), text).with_context(|| file.to_owned())
    }

    fn files(&self) -> Result<BTreeSet<String>> {
        let mut git = Command::new("git");
        git.arg("-C").arg(&self.repository).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]);
        let output = git.output().context("git")?;
        if !output.status.success() {
            bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let text = String::from_utf8(output.stdout)?;
        let files = text.split('\0').filter(|file| !file.is_empty() && self.repository.join(file).is_file());
        Ok(files.map(str::to_owned).collect())
    }

    /// A file that is gone must not be built any more.
    fn remove_others(&self, files: &BTreeSet<String>) -> Result<()> {
        let mut folders = vec![self.copy.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder)?.flatten() {
                let path = entry.path();
                if entry.file_type()?.is_dir() {
                    folders.push(path);
                    continue;
                }
                let known = path.strip_prefix(&self.copy).ok().and_then(Path::to_str);
                if known.is_none_or(|known| !files.contains(known)) && known != Some("Cargo.lock") {
                    std::fs::remove_file(&path)?;
                }
            }
        }
        Ok(())
    }
}
