//! Where the built executables are. It promises a path that exists, or a panic that says what to build.

use std::path::{Path, PathBuf};

/// The product's executables, tested as the release build.
const PRODUCT: [&str; 3] = ["gaoler", "gaoler-front", "gaoler-jail-exec"];

/// The workspace's root directory.
#[must_use]
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// The workspace's target directory.
#[must_use]
pub fn target() -> PathBuf {
    workspace().join("target")
}

/// The path of an executable: the product's from the release build (or `GAOLER_BIN_DIR`), a test server's from
/// the directory above the running test's own.
///
/// # Panics
/// When the executable has not been built.
#[must_use]
pub fn bin(name: &str) -> PathBuf {
    let path = if PRODUCT.contains(&name) { product_dir().join(name) } else { debug_dir().join(name) };
    assert!(
        path.is_file(),
        "{} is missing: run `make build` (or cargo build of {name}) first",
        path.display()
    );
    path
}

fn product_dir() -> PathBuf {
    std::env::var_os("GAOLER_BIN_DIR")
        .map_or_else(|| target().join("x86_64-unknown-linux-gnu/release"), PathBuf::from)
}

fn debug_dir() -> PathBuf {
    // A test runs as target/TRIPLE/PROFILE/deps/NAME-HASH; a bin is two levels up.
    let fallback = || target().join("x86_64-unknown-linux-gnu/debug");
    let Ok(own) = std::env::current_exe() else { return fallback() };
    match own.parent() {
        Some(deps) if deps.ends_with("deps") => deps.parent().map_or_else(fallback, Path::to_path_buf),
        Some(dir) => dir.to_path_buf(),
        None => fallback(),
    }
}
