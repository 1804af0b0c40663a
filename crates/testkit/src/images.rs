//! Guest images that `make test` has built.

use std::path::PathBuf;

/// The directory of a built image (`tiny`, `debian-12-x64`), from `BULUT_TEST_IMAGES`.
pub fn built(slug: &str) -> PathBuf {
    let base = std::env::var_os("BULUT_TEST_IMAGES")
        .expect("BULUT_TEST_IMAGES names no directory of images; `make test` builds them and sets it");
    let dir = PathBuf::from(base).join(slug);
    assert!(dir.join("disk.qcow2").exists(), "{} holds no image; `make test` builds it", dir.display());
    dir
}
