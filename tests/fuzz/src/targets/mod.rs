//! The targets by name; each has its seeds in `corpus/NAME`.

mod command;
mod doctor;
mod events;
mod frame;
mod headers;
mod jail;
mod legacy_server;
mod lines;
mod modern_server;
mod names;
mod wire;

/// Runs one input; a broken promise is a panic.
pub(crate) type Target = fn(&[u8]);

/// Every target.
pub(crate) const ALL: [(&str, Target); 11] = [
    ("command", command::run),
    ("doctor", doctor::run),
    ("events", events::run),
    ("frame", frame::run),
    ("headers", headers::run),
    ("jail", jail::run),
    ("legacy_server", legacy_server::run),
    ("lines", lines::run),
    ("modern_server", modern_server::run),
    ("names", names::run),
    ("wire", wire::run),
];

/// Two halves of an input, before and after the first empty line.
fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let at = data.windows(2).position(|pair| pair == b"\n\n");
    at.map_or((data, &[][..]), |at| (&data[..at], &data[at + 2..]))
}
