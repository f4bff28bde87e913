//! `gaoler-front --role mcp`: started by the supervisor with the channel as its standard input, never by hand.

use std::error::Error;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;

/// A copy of the channel. It is the standard input because that is the one descriptor that safe code can name.
fn channel() -> Result<OwnedFd, Box<dyn Error>> {
    std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|e| format!("could not copy the channel: {e}").into())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments != ["--role", "mcp"] {
        eprintln!(
            "gaoler-front: usage: gaoler-front --role mcp, with the supervisor's channel as standard input"
        );
        return ExitCode::from(2);
    }
    match channel().and_then(|fd| gaoler_front::app::run(fd).map_err(Into::into)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let mut text = format!("gaoler-front: {e}");
            let mut source = e.source();
            while let Some(cause) = source {
                text.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}
