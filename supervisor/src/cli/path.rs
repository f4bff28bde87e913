//! `--bind`: two paths that are absolute and plain, and a jail path that hides nothing of the jail itself.

use gaoler_wire::policy::Bind;

/// The kernel's `PATH_MAX`, in bytes with the final NUL.
const PATH_MAX: usize = 4096;

/// More binds than this are a mistake.
pub(super) const BINDS_MAX: usize = 64;

/// What the jail makes itself: nothing may be shown on it or below it.
const JAIL_OWN: [&str; 9] = ["/proc", "/sys", "/dev", "/usr", "/etc", "/bin", "/sbin", "/lib", "/lib64"];

/// What of the host would hand the jail its way out.
const HOST_NEVER: [&str; 4] = ["/proc", "/sys", "/dev", "/run/gaoler"];

const FIX: &str = "give HOST:JAIL, HOST:JAIL:ro or HOST:JAIL:rw, such as /srv/docs:/docs:ro";

/// Reads one `HOST:JAIL[:ro|rw]`.
pub(super) fn bind(text: &str) -> Result<Bind, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, jail, writable) = match parts[..] {
        [host, jail] | [host, jail, "ro"] => (host, jail, false),
        [host, jail, "rw"] => (host, jail, true),
        [_, _, mode] => return Err(format!("\"{}\" is neither ro nor rw; {FIX}", super::value::clip(mode))),
        _ => return Err(format!("not two paths; {FIX}")),
    };
    plain("host", host)?;
    plain("jail", jail)?;
    if host == "/" {
        return Err("would show the whole host; give the directory that the server needs".into());
    }
    if let Some(own) = HOST_NEVER.into_iter().find(|own| overlap(host, own)) {
        return Err(format!("the host's {own} is never shown in a jail; give another host path"));
    }
    if jail == "/" || jail == "/tmp" {
        return Err(format!("{jail} is the jail's own; give a path below it or beside it, such as /srv"));
    }
    if let Some(own) = JAIL_OWN.into_iter().find(|own| within(jail, own)) {
        return Err(format!("{own} is the jail's own; give another jail path, such as /srv"));
    }
    Ok(Bind { host: host.to_owned(), jail: jail.to_owned(), writable })
}

/// Whether two jail paths are the same or one lies below the other.
pub(super) fn overlap(a: &str, b: &str) -> bool {
    within(a, b) || within(b, a)
}

fn within(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn plain(whose: &str, path: &str) -> Result<(), String> {
    if path.len() >= PATH_MAX {
        return Err(format!("the {whose} path is longer than {} bytes; give a shorter one", PATH_MAX - 1));
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Err(format!("the {whose} path is not absolute; {FIX}"));
    };
    let odd = |part: &str| part.is_empty() || part == "." || part == "..";
    if !rest.is_empty() && rest.split('/').any(odd) {
        return Err(format!("the {whose} path has an empty, '.' or '..' part; give it without"));
    }
    if path.chars().any(char::is_control) {
        return Err(format!("the {whose} path has a control character; rename it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_good_bind_keeps_its_paths() {
        let bound = bind("/srv/docs:/docs").unwrap();
        assert_eq!((bound.host.as_str(), bound.jail.as_str(), bound.writable), ("/srv/docs", "/docs", false));
        assert!(bind("/a:/b:rw").unwrap().writable);
        assert!(bind("/usr/share/x:/tmp/x:ro").is_ok());
        assert!(bind("/process:/processes").is_ok());
    }

    #[test]
    fn bad_binds_say_what_to_give() {
        for bad in [
            "",
            ":",
            "/a",
            "a:/b",
            "/a:b",
            "/a:/b:rx",
            "/a:/b:ro:x",
            "/a/../b:/c",
            "/a:/b/../c",
            "/a:/./b",
            "/a//b:/c",
            "/a/:/b",
            "/a:/",
            "/:/b",
            "/a:/tmp",
            "/a:/proc",
            "/a:/proc/x",
            "/a:/dev/x",
            "/a:/usr",
            "/a:/usr/lib/x",
            "/a:/etc/passwd",
            "/a:/lib64",
            "/proc:/x",
            "/sys/fs/cgroup:/x",
            "/dev/sda:/x",
            "/run/gaoler:/x",
            "/run:/x",
            "/a\n:/b",
        ] {
            assert!(bind(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn below_and_same_overlap_and_beside_does_not() {
        assert!(overlap("/a", "/a") && overlap("/a/b", "/a") && overlap("/a", "/a/b"));
        assert!(!overlap("/a", "/ab") && !overlap("/a/b", "/a/c"));
    }

    proptest! {
        #[test]
        fn what_is_accepted_stays_inside(text in "[/.:a-z]{0,24}") {
            if let Ok(bound) = bind(&text) {
                prop_assert!(bound.jail.len() > 1 && bound.jail.starts_with('/'));
                prop_assert!(!bound.jail.split('/').any(|p| p == ".."));
                prop_assert!(!bound.host.split('/').any(|p| p == ".."));
            }
        }
    }
}
