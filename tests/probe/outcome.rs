//! What a verb reports, and the rules by which a kernel's answer becomes a report.

use std::ffi::c_long;

use crate::sys::{self, Answer};

/// A verb's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Something refused.
    Stopped {
        /// in words
        detail: String,
        /// the kernel's error number; 0 when there is none
        errno: i32,
    },
    /// The forbidden thing was done, or the kernel got past its permission check.
    Succeeded(String),
    /// The verb could not be tried at all; never counts as stopped.
    Unsupported(String),
}

/// One forbidden thing.
pub struct Verb {
    /// how it is called
    pub name: &'static str,
    /// tries it; the words after the verb are its arguments
    pub run: fn(&[String]) -> Outcome,
}

/// Names a verb.
pub const fn verb(name: &'static str, run: fn(&[String]) -> Outcome) -> Verb {
    Verb { name, run }
}

/// An error number in words.
pub fn words(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}

/// Refused with this error number.
pub fn stopped(errno: i32) -> Outcome {
    Outcome::Stopped { detail: words(errno), errno }
}

/// Refused, and the kernel gave no error number.
pub fn held(detail: impl Into<String>) -> Outcome {
    Outcome::Stopped { detail: detail.into(), errno: 0 }
}

/// Done.
pub fn succeeded(detail: impl Into<String>) -> Outcome {
    Outcome::Succeeded(detail.into())
}

/// Not tried.
pub fn unsupported(detail: impl Into<String>) -> Outcome {
    Outcome::Unsupported(detail.into())
}

/// An answer as it is: a number is success.
pub fn judge<T>(answer: Result<T, i32>) -> Outcome {
    match answer {
        Ok(_) => succeeded("the kernel did it"),
        Err(errno) => stopped(errno),
    }
}

/// An answer to a call whose arguments are wrong on purpose: these error numbers come only after the permission check.
pub fn past<T>(answer: Result<T, i32>, after_the_check: &[i32]) -> Outcome {
    match answer {
        Err(errno) if after_the_check.contains(&errno) => {
            succeeded(format!("past the permission check: {}", words(errno)))
        }
        other => judge(other),
    }
}

/// Makes a call and judges its answer.
pub fn attempt(number: c_long, arguments: &[usize]) -> Outcome {
    judge(sys::call(number, arguments))
}

/// Tries several ways to the same thing: one success is enough.
pub fn any_of<'a>(ways: impl IntoIterator<Item = (&'a str, Answer)>) -> Outcome {
    let mut last = held("there was nothing to try");
    for (name, answer) in ways {
        match answer {
            Ok(_) => return succeeded(name),
            Err(errno) => last = stopped(errno),
        }
    }
    last
}

/// The argument at `index`, for verbs that need one.
pub fn need(arguments: &[String], index: usize) -> Result<&str, Outcome> {
    arguments
        .get(index)
        .map(String::as_str)
        .ok_or_else(|| unsupported(format!("argument {} is missing", index + 1)))
}

/// The number at `index`.
pub fn number(arguments: &[String], index: usize) -> Result<usize, Outcome> {
    let word = need(arguments, index)?;
    word.parse().map_err(|_| unsupported(format!("{word:?} is not a number")))
}

/// Lets a verb use `?` for arguments it needs.
pub fn flatten(result: Result<Outcome, Outcome>) -> Outcome {
    result.unwrap_or_else(|outcome| outcome)
}
