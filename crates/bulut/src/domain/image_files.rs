//! Room: the domain. The files of images on this host: `<state>/images/<digest>/disk.qcow2`, and the kernel and
//! initial ram disk beside it where the hypervisor boots them itself.
//!
//! Promises: a directory named by a digest is complete and never changes; who is interrupted leaves only a directory
//! that the next one removes; a disk never refers to another file of the host. Must not know: HTTP, the database.

use super::images::Fault;
use bulut_model::catalog::{DirectBoot, ImageFiles};
use nix::fcntl::{Flock, FlockArg};
use serde::Deserialize;
use sha2::{Sha256, Sha512};
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The disk's name in its directory.
pub const DISK: &str = "disk.qcow2";
/// Directories that are not finished begin so.
const UNFINISHED: &str = ".new-";

/// A digest that a file should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest(String);

impl Digest {
    /// Parses hexadecimal digits, 64 for SHA-256 or 128 for SHA-512, with or without `sha256:` in front.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.strip_prefix("sha256:").or_else(|| text.strip_prefix("sha512:")).unwrap_or(text);
        let known = matches!(digits.len(), 64 | 128) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        known.then(|| Self(digits.to_ascii_lowercase()))
    }

    /// Hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.0
    }

    /// Whether the file at `path` has it.
    pub async fn matches(&self, path: &Path) -> Result<bool, Fault> {
        let found =
            if self.0.len() == 64 { hash::<Sha256>(path).await? } else { hash::<Sha512>(path).await? };
        Ok(found == self.0)
    }
}

/// The SHA-256 of a file, in hexadecimal digits.
pub async fn sha256(path: &Path) -> Result<String, Fault> {
    hash::<Sha256>(path).await
}

async fn hash<D: sha2::Digest + Send + 'static>(path: &Path) -> Result<String, Fault> {
    let path = path.to_owned();
    let read = move || {
        let mut file = fs::File::open(&path).map_err(|why| Fault::file("read", &path, &why))?;
        let mut hasher = D::new();
        let mut buffer = vec![0; 1024 * 1024];
        loop {
            match file.read(&mut buffer).map_err(|why| Fault::file("read", &path, &why))? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|why| Fault::broken(format!("hashing was cut short: {why}")))?
}

/// The image directory, held by one command at a time.
#[derive(Debug)]
pub struct ImageDir {
    path: PathBuf,
    _lock: Flock<fs::File>,
}

impl ImageDir {
    /// Makes the directory where needed, takes it, and clears away what an interrupted command left.
    ///
    /// Errors: refused while another command is at work there.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        Self::open_unless_busy(path)?
            .ok_or_else(|| Fault::refused("another image command is at work").hint("wait until it has ended"))
    }

    /// As [`ImageDir::open`], but `None` while another command is at work there.
    pub fn open_unless_busy(path: &Path) -> Result<Option<Self>, Fault> {
        fs::create_dir_all(path).map_err(|why| Fault::file("make", path, &why))?;
        // Machines run as users of their own and read their base image here.
        set_mode(path, 0o755)?;
        let lock_path = path.join(".lock");
        let lock = fs::File::create(&lock_path).map_err(|why| Fault::file("open", &lock_path, &why))?;
        let Ok(lock) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) else { return Ok(None) };
        for entry in fs::read_dir(path).map_err(|why| Fault::file("read", path, &why))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                let left = entry.path();
                fs::remove_dir_all(&left).map_err(|why| Fault::file("remove", &left, &why))?;
            }
        }
        Ok(Some(Self { path: path.to_owned(), _lock: lock }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directories that hold images.
    pub fn list(&self) -> Result<Vec<String>, Fault> {
        let entries = fs::read_dir(&self.path).map_err(|why| Fault::file("read", &self.path, &why))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter(|name| Digest::parse(name).is_some()).collect())
    }

    /// A directory to make an image in; gone when it is dropped.
    pub fn workspace(&self) -> Result<Workspace, Fault> {
        let path = self.path.join(format!("{UNFINISHED}{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).map_err(|why| Fault::file("make", &path, &why))?;
        Ok(Workspace { path })
    }

    /// Names what was made by its digest. An image that is there already is the same one, and stays.
    pub async fn adopt(
        &self,
        made: Workspace,
        qemu_img: &Path,
        direct: Option<DirectBoot>,
    ) -> Result<ImageFiles, Fault> {
        let disk = made.path.join(DISK);
        let info = inspect(qemu_img, &disk).await?;
        if info.format != "qcow2" {
            return Err(Fault::broken(format!("the image that was made is {}, not qcow2", info.format)));
        }
        let hex = sha256(&disk).await?;
        let mut kept = vec![DISK.to_owned()];
        kept.extend(direct.iter().flat_map(|direct| [direct.kernel.clone(), direct.initrd.clone()]));
        for name in &kept {
            let file = made.path.join(name);
            sync(&file)?;
            set_mode(&file, 0o444)?;
        }
        remove_others(&made.path, &kept)?;
        set_mode(&made.path, 0o755)?;
        let file_bytes = fs::metadata(&disk).map_err(|why| Fault::file("read", &disk, &why))?.len();
        let home = self.path.join(&hex);
        if !home.exists() {
            sync(&made.path)?;
            fs::rename(&made.path, &home).map_err(|why| Fault::file("name", &home, &why))?;
            sync(&self.path)?;
        }
        Ok(ImageFiles {
            digest: format!("sha256:{hex}"),
            directory: hex,
            virtual_bytes: info.virtual_size,
            file_bytes,
            direct,
        })
    }

    /// Removes the directory of an image. Absent is fine.
    pub fn remove(&self, directory: &str) -> Result<(), Fault> {
        let home = self.path.join(directory);
        if Digest::parse(directory).is_none() || !home.exists() {
            return Ok(());
        }
        // Renamed first, so that a directory with a digest for its name is complete at any moment.
        let leaving = self.path.join(format!("{UNFINISHED}{}", uuid::Uuid::new_v4()));
        fs::rename(&home, &leaving).map_err(|why| Fault::file("remove", &home, &why))?;
        fs::remove_dir_all(&leaving).map_err(|why| Fault::file("remove", &leaving, &why))
    }
}

/// A directory in which an image is made.
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
}

impl Workspace {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // Renamed away when it was adopted; what is still here failed, and goes with the next command at the latest.
        drop(fs::remove_dir_all(&self.path));
    }
}

/// What `qemu-img info` says of a disk.
#[derive(Debug, Deserialize)]
pub struct Info {
    /// `qcow2`, `raw`, `vmdk`…
    pub format: String,
    /// Size as a guest sees it, bytes.
    #[serde(rename = "virtual-size")]
    pub virtual_size: u64,
    #[serde(rename = "backing-filename")]
    backing: Option<String>,
    #[serde(rename = "format-specific", default)]
    specific: serde_json::Value,
    #[serde(default)]
    encrypted: bool,
}

/// Looks at a disk.
///
/// Errors: refused when it is no disk, is encrypted, or refers to other files: such a reference would hand the guest
/// any file of the host.
pub async fn inspect(qemu_img: &Path, disk: &Path) -> Result<Info, Fault> {
    let output = run(qemu_img, [OsStr::new("info"), "--output=json".as_ref(), disk.as_os_str()]).await?;
    let info: Info = serde_json::from_slice(&output).map_err(|why| {
        Fault::broken(format!("qemu-img says something unexpected of {}: {why}", disk.display()))
    })?;
    let elsewhere = info.backing.as_deref().or_else(|| info.specific["data"]["data-file"].as_str());
    if let Some(other) = elsewhere {
        return Err(Fault::refused(format!("{} refers to another file, {other}", disk.display()))
            .hint("make it whole first: qemu-img convert -O qcow2 FROM TO"));
    }
    if info.encrypted {
        return Err(Fault::refused(format!("{} is encrypted", disk.display()))
            .hint("decrypt it with qemu-img convert"));
    }
    Ok(info)
}

/// Puts a disk of any format at `target` as qcow2.
pub async fn to_qcow2(qemu_img: &Path, source: &Path, target: &Path) -> Result<(), Fault> {
    let info = inspect(qemu_img, source).await?;
    if info.format == "qcow2" {
        return tokio::fs::copy(source, target)
            .await
            .map(drop)
            .map_err(|why| Fault::file("copy", source, &why));
    }
    // Named, not guessed a second time: a raw disk may begin with anything, a qcow2 header too.
    let words = ["convert", "-f", &info.format, "-O", "qcow2"].map(OsStr::new);
    run(qemu_img, words.into_iter().chain([source.as_os_str(), target.as_os_str()])).await.map(drop)
}

async fn run<'a>(qemu_img: &Path, words: impl IntoIterator<Item = &'a OsStr>) -> Result<Vec<u8>, Fault> {
    let output =
        tokio::process::Command::new(qemu_img).args(words).kill_on_drop(true).output().await.map_err(
            |why| {
                Fault::refused(format!("cannot run {}: {why}", qemu_img.display()))
                    .hint("apt-get install qemu-utils")
            },
        )?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Fault::refused(said.trim().trim_start_matches("qemu-img: ").to_owned()))
}

/// Only what an image consists of stays in its directory.
fn remove_others(dir: &Path, kept: &[String]) -> Result<(), Fault> {
    for entry in fs::read_dir(dir).map_err(|why| Fault::file("read", dir, &why))?.flatten() {
        if kept.iter().any(|name| entry.file_name() == name.as_str()) {
            continue;
        }
        let path = entry.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|why| Fault::file("remove", &path, &why))?;
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Fault> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|why| Fault::file("set the mode of", path, &why))
}

/// Makes sure that a file or directory is on the disk before somebody is told that it is there.
fn sync(path: &Path) -> Result<(), Fault> {
    fs::File::open(path).and_then(|file| file.sync_all()).map_err(|why| Fault::file("write", path, &why))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QEMU_IMG: &str = "qemu-img";

    async fn make(format: &str, path: &Path) {
        let words = ["create", "-q", "-f", format].map(OsStr::new);
        run(QEMU_IMG.as_ref(), words.into_iter().chain([path.as_os_str(), "4M".as_ref()])).await.unwrap();
    }

    #[test]
    fn digests_are_64_or_128_digits() {
        assert!(Digest::parse(&"aB".repeat(32)).is_some_and(|digest| digest.hex().starts_with("abab")));
        assert!(Digest::parse(&format!("sha256:{}", "0".repeat(64))).is_some());
        assert!(Digest::parse(&"0".repeat(128)).is_some());
        for wrong in ["", "abc", &"g".repeat(64), &"0".repeat(63)] {
            assert!(Digest::parse(wrong).is_none());
        }
    }

    #[tokio::test]
    async fn a_digest_is_of_the_contents() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("abc");
        fs::write(&file, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(Digest::parse(abc).unwrap().matches(&file).await.unwrap());
        fs::write(&file, "abd").unwrap();
        assert!(!Digest::parse(abc).unwrap().matches(&file).await.unwrap());
    }

    #[tokio::test]
    async fn an_adopted_image_is_named_by_its_digest_readable_and_never_writable() {
        let dir = tempfile::tempdir().unwrap();
        let images = ImageDir::open(&dir.path().join("images")).unwrap();
        let mut found = Vec::new();
        for _ in 0..2 {
            let made = images.workspace().unwrap();
            make("raw", &made.path().join("source")).await;
            to_qcow2(QEMU_IMG.as_ref(), &made.path().join("source"), &made.path().join(DISK)).await.unwrap();
            found.push(images.adopt(made, QEMU_IMG.as_ref(), None).await.unwrap());
        }
        assert_eq!(found[0], found[1], "the same disk is the same image");
        assert_eq!(found[0].virtual_bytes, 4 << 20);
        let home = dir.path().join("images").join(&found[0].directory);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&home), mode(&home.join(DISK))), (0o755, 0o444));
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1, "the source is not part of the image");
        assert_eq!(found[0].digest, format!("sha256:{}", sha256(&home.join(DISK)).await.unwrap()));
        assert_eq!(images.list().unwrap(), [found[0].directory.as_str()]);
        images.remove(&found[0].directory).unwrap();
        images.remove(&found[0].directory).unwrap();
        assert!(!home.exists());
    }

    #[tokio::test]
    async fn a_disk_that_refers_to_a_file_of_the_host_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (base, evil) = (dir.path().join("base"), dir.path().join("evil"));
        make("raw", &base).await;
        let words = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b"].map(OsStr::new);
        run(QEMU_IMG.as_ref(), words.into_iter().chain([base.as_os_str(), evil.as_os_str()])).await.unwrap();
        let fault = to_qcow2(QEMU_IMG.as_ref(), &evil, &dir.path().join("out")).await.unwrap_err();
        assert!(fault.error.public.contains("refers to another file"), "{fault:?}");
        assert!(!dir.path().join("out").exists());
    }

    #[test]
    fn one_command_at_a_time_and_leftovers_go() {
        let dir = tempfile::tempdir().unwrap();
        let images = ImageDir::open(dir.path()).unwrap();
        assert!(ImageDir::open(dir.path()).is_err());
        drop(images);
        fs::create_dir(dir.path().join(".new-1")).unwrap();
        ImageDir::open(dir.path()).unwrap();
        assert!(!dir.path().join(".new-1").exists());
    }
}
