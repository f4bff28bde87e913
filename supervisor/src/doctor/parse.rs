//! The kernel's text files as values. Pure: every function takes the file's text, and none fails on odd text.

use std::collections::BTreeSet;

use super::facts::{CgroupMode, Presence};

/// One mounted control-group hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// where
    pub(super) path: String,
    /// whether it is the unified one
    pub(super) v2: bool,
    /// its controllers, from the mount options (v1 only)
    pub(super) controllers: BTreeSet<String>,
    /// whether it may be written
    pub(super) writable: bool,
}

/// The control-group mounts in `/proc/self/mounts`: lines of device, path, type, options.
pub(super) fn hierarchies(mounts: &str) -> Vec<Hierarchy> {
    let hierarchy = |line: &str| {
        let mut words = line.split(' ');
        let (path, kind, options) = (words.nth(1)?, words.next()?, words.next()?);
        let v2 = match kind {
            "cgroup" => false,
            "cgroup2" => true,
            _ => return None,
        };
        let options: BTreeSet<String> = options.split(',').map(str::to_owned).collect();
        let writable = options.contains("rw");
        let controllers = if v2 { BTreeSet::new() } else { options };
        Some(Hierarchy { path: path.to_owned(), v2, controllers, writable })
    };
    mounts.lines().filter_map(hierarchy).collect()
}

/// How the hierarchies stand to each other. A v1 mount without a controller (`name=systemd`) does not count.
pub(super) fn mode(hierarchies: &[Hierarchy]) -> CgroupMode {
    const V1: [&str; 4] = ["memory", "pids", "cpu", "freezer"];
    let v2 = hierarchies.iter().any(|h| h.v2);
    let v1 = hierarchies.iter().any(|h| V1.iter().any(|c| h.controllers.contains(*c)));
    match (v1, v2) {
        (true, true) => CgroupMode::Hybrid,
        (true, false) => CgroupMode::V1,
        (false, true) => CgroupMode::V2,
        (false, false) => CgroupMode::None,
    }
}

/// Whether host ids `first` to `first + count - 1` exist in this `/proc/self/uid_map`.
pub(super) fn maps(uid_map: &str, first: u64, count: u64) -> bool {
    uid_map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
        let [inside, _, length] = numbers[..] else { return false };
        inside <= first && first.saturating_add(count) <= inside.saturating_add(length)
    })
}

/// Whether `/proc/filesystems` or the module list of the running kernel has this file system.
pub(super) fn filesystem(name: &str, filesystems: &str, modules: &str) -> Presence {
    let module = format!("/{name}.ko");
    if filesystems.lines().any(|line| line.split_ascii_whitespace().last() == Some(name)) {
        Presence::Loaded
    } else if modules.contains(&module) {
        Presence::Loadable
    } else {
        Presence::Absent
    }
}

/// Major and minor of a kernel release such as `6.1.0-18-amd64`.
pub(super) fn release(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HYBRID: &str = "\
tmpfs /sys/fs/cgroup tmpfs rw,relatime,mode=755 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup ro,relatime,memory 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,name=systemd 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
";

    #[test]
    fn mounts_of_both_kinds_are_hybrid() {
        let found = hierarchies(HYBRID);
        assert_eq!(mode(&found), CgroupMode::Hybrid);
        assert_eq!(found.len(), 4);
        assert!(found[0].controllers.contains("cpu") && found[0].controllers.contains("cpuacct"));
        assert_eq!(found.iter().map(|h| h.writable).collect::<Vec<_>>(), [true, false, true, true]);
    }

    #[test]
    fn systemd_alone_on_v1_is_not_a_v1_host() {
        let text = "cgroup /a cgroup rw,name=systemd 0 0\ncgroup2 /b cgroup2 rw 0 0\n";
        assert_eq!(mode(&hierarchies(text)), CgroupMode::V2);
        assert_eq!(mode(&hierarchies("proc /proc proc rw 0 0\n")), CgroupMode::None);
    }

    #[test]
    fn id_ranges_are_found_whole_or_not_at_all() {
        assert!(maps("         0          0 4294967295\n", 0x4000_0000, 65536));
        assert!(!maps("0 100000 65536\n", 0x4000_0000, 65536));
        assert!(!maps("0 0 1073741825\n", 0x4000_0000, 65536));
        assert!(!maps("", 0, 1));
    }

    #[test]
    fn a_module_on_disk_counts_as_loadable() {
        let modules = "kernel/fs/erofs/erofs.ko.xz: kernel/lib/lz4.ko.xz\n";
        assert_eq!(filesystem("erofs", "nodev\tproc\n\text4\n", modules), Presence::Loadable);
        assert_eq!(filesystem("ext4", "nodev\tproc\n\text4\n", modules), Presence::Loaded);
        assert_eq!(filesystem("squashfs", "", modules), Presence::Absent);
    }

    #[test]
    fn releases_of_distributions_are_read() {
        for (text, numbers) in [("6.1.0-18-amd64", (6, 1)), ("6.18.44-fc", (6, 18)), ("5.10+", (5, 10))] {
            assert_eq!(release(text), Some(numbers));
        }
        assert_eq!(release("weird"), None);
    }

    proptest! {
        #[test]
        fn odd_text_never_panics(text in any::<String>()) {
            let _ = mode(&hierarchies(&text));
            let _ = maps(&text, 1, u64::MAX);
            let _ = filesystem(&text, &text, &text);
            let _ = release(&text);
        }
    }
}
