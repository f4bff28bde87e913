//! Reads the files of `--secret-env`, after parsing and before anything is started.
//!
//! It promises: only regular files are read, no file makes it wait, and no value appears in a message.

use std::ffi::OsString;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;

use super::{SecretFile, UsageError};

/// The largest secret, in bytes: a variable must fit the kernel's limit at exec with room for its name.
pub const SECRET_MAX: u64 = 64 * 1024;

/// A variable whose value must not be shown; its `Debug` keeps it out of logs.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretVar {
    /// letters, digits and `_`
    pub name: String,
    /// without NUL
    pub value: OsString,
}

impl fmt::Debug for SecretVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretVar").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a secret's file gives no value.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("cannot be read ({0})")]
    Io(#[from] io::Error),
    #[error("is not a regular file")]
    NotRegular,
    #[error("is larger than {SECRET_MAX} bytes")]
    TooLarge,
    #[error("holds a NUL byte, which no variable can hold")]
    Nul,
}

/// The variables of `files`, each with its file's contents less one final newline.
///
/// # Errors
/// One line for each file that is not a readable regular file of at most [`SECRET_MAX`] bytes without NUL.
pub fn read(prefix: &'static str, files: &[SecretFile]) -> Result<Vec<SecretVar>, UsageError> {
    let mut secrets = Vec::with_capacity(files.len());
    let mut problems = Vec::new();
    for SecretFile { name, file } in files {
        match contents(file) {
            Ok(value) => secrets.push(SecretVar { name: name.clone(), value }),
            Err(why) => {
                let shown = super::value::quote(file.as_os_str());
                problems.push(format!(
                    "--secret-env {name}: {shown} {why}; give a file with the secret alone in it"
                ));
            }
        }
    }
    if problems.is_empty() { Ok(secrets) } else { Err(UsageError { prefix, problems }) }
}

fn contents(file: &std::path::Path) -> Result<OsString, Unusable> {
    // Non-blocking, so that a FIFO is refused and not waited for.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(file)?;
    if !opened.metadata()?.is_file() {
        return Err(Unusable::NotRegular);
    }
    let mut bytes = Vec::new();
    opened.take(SECRET_MAX + 2).read_to_end(&mut bytes)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if u64::try_from(bytes.len()).is_ok_and(|length| length > SECRET_MAX) {
        return Err(Unusable::TooLarge);
    }
    if bytes.contains(&0) {
        return Err(Unusable::Nul);
    }
    Ok(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn scratch(name: &str, bytes: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("gaoler-secret-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn read_one(file: &Path) -> Result<Vec<SecretVar>, UsageError> {
        read("gaoler run", &[SecretFile { name: "K".into(), file: file.to_owned() }])
    }

    #[test]
    fn one_final_newline_is_dropped() {
        let path = scratch("newline", b"a b\n\n");
        assert_eq!(read_one(&path).unwrap()[0].value, "a b\n");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_secret_is_not_in_its_debug_text() {
        let path = scratch("debug", b"hunter2");
        assert!(!format!("{:?}", read_one(&path).unwrap()).contains("hunter2"));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn unusable_files_are_named() {
        let nul = scratch("nul", b"a\0b");
        let large = scratch("large", &vec![b'x'; 64 * 1024 + 1]);
        for (file, why) in [
            (nul.as_path(), "NUL"),
            (large.as_path(), "larger"),
            (Path::new("/nonexistent"), "No such file"),
            (Path::new("/dev/null"), "not a regular file"),
            (Path::new("/"), "not a regular file"),
        ] {
            let told = read_one(file).unwrap_err().to_string();
            assert!(told.contains("--secret-env K") && told.contains(why) && !told.contains('\n'), "{told}");
        }
        std::fs::remove_file(nul).unwrap();
        std::fs::remove_file(large).unwrap();
    }
}
