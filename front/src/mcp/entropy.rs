//! Bytes that nobody can guess: session ids and the like.
//!
//! Promises: from the kernel's generator; without it nothing is served.

use crate::log;

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(length) => filled += length,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => {
                log::line(format_args!(
                    "the kernel gives no random bytes ({e}): stopped, because ids must not be guessable"
                ));
                std::process::exit(1);
            }
        }
    }
    bytes
}

/// A session id: 160 random bits in 40 visible characters.
pub(crate) fn session_id() -> Box<str> {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(40);
    for byte in random::<20>() {
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_long_and_differ() {
        let (a, b) = (session_id(), session_id());
        assert!(a.len() == 40 && a != b && a.bytes().all(|c| c.is_ascii_hexdigit()));
    }
}
