//! Protocol revisions: which there are, and which era each belongs to.

/// The revision of the modern, stateless era.
pub(crate) const MODERN: &str = "2026-07-28";

/// The newest revision with sessions.
pub(crate) const LEGACY: &str = "2025-11-25";

/// The first revision whose clients understand an event without data (SEP-1699).
const PRIMING: &str = "2025-11-25";

/// The only revision that allows several messages in one body.
const BATCHES: &str = "2025-03-26";

/// Revisions with sessions. 2024-11-05 had another transport, but clients still name it in `initialize`.
const LEGACY_ALL: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", LEGACY];

/// Whether it is a known revision with sessions.
pub(crate) fn is_legacy(version: &str) -> bool {
    LEGACY_ALL.contains(&version)
}

/// Whether it is known at all.
pub(crate) fn is_known(version: &str) -> bool {
    version == MODERN || is_legacy(version)
}

/// Whether its clients understand an event that only primes `Last-Event-ID`.
pub(crate) fn has_priming(version: &str) -> bool {
    version >= PRIMING
}

/// Whether several messages may come in one body.
pub(crate) fn has_batches(version: &str) -> bool {
    version == BATCHES
}

/// Methods that revision 2026-07-28 took away; a server on a pipe may still answer them.
pub(crate) fn is_removed(method: &str) -> bool {
    matches!(
        method,
        "initialize"
            | "ping"
            | "logging/setLevel"
            | "resources/subscribe"
            | "resources/unsubscribe"
            | "tasks/list"
            | "tasks/result"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eras_do_not_meet() {
        assert!(is_known(MODERN) && !is_legacy(MODERN));
        assert!(LEGACY_ALL.iter().all(|version| is_known(version) && *version < MODERN));
        assert!(!is_known("1999-01-01") && !is_known(""));
    }

    #[test]
    fn features_follow_revisions() {
        assert!(has_priming(LEGACY) && !has_priming("2025-06-18"));
        assert!(has_batches("2025-03-26") && !has_batches("2025-06-18"));
        assert!(is_removed("ping") && !is_removed("tools/call"));
    }
}
