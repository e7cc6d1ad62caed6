//! Secrets at rest: XChaCha20-Poly1305 under a key that the database never sees.
//!
//! Layout: version, four bytes that name the key, nonce, sealed JSON. The receiver's id is authenticated with it, so that a
//! sealed text moved to another row does not open.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// Shortest key text, in bytes.
pub const KEY_BYTES_MIN: usize = 32;

const VERSION: u8 = 1;
const KEY_NAME_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;
const KEY_FILE: &str = "secret.key";

/// Secrets by name.
pub(crate) type Secrets = BTreeMap<String, SecretString>;

/// Why secrets cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Sealed by a process with another key.
    #[error("sealed with another key; every replica needs the same FASTBREAK_SECRET_KEY")]
    OtherKey,
    /// Not what was sealed.
    #[error("the sealed secrets are damaged")]
    Damaged,
    /// The key file cannot be used.
    #[error("the key file {path} {what}; FASTBREAK_SECRET_KEY takes its place")]
    KeyFile {
        /// Which.
        path: String,
        /// What is wrong with it.
        what: String,
    },
}

/// Seals and opens.
pub(super) struct Vault {
    cipher: XChaCha20Poly1305,
    key_name: [u8; KEY_NAME_BYTES],
}

impl Vault {
    /// With the configured key, or the one in the file of the data directory, which is made when it is not there.
    pub(super) fn open(configured: Option<&SecretString>, data_dir: &Path) -> Result<Self, SealError> {
        match configured {
            Some(text) => Ok(Self::from_text(text.expose_secret())),
            None => Ok(Self::from_text(&key_file(&data_dir.join(KEY_FILE))?)),
        }
    }

    fn from_text(text: &str) -> Self {
        let key = Sha256::new().chain_update(b"fastbreak secrets v1\0").chain_update(text.as_bytes()).finalize();
        let name = Sha256::new().chain_update(b"fastbreak key name\0").chain_update(key).finalize();
        let mut key_name = [0; KEY_NAME_BYTES];
        for (to, from) in key_name.iter_mut().zip(name) {
            *to = from;
        }
        Self { cipher: XChaCha20Poly1305::new(&key), key_name }
    }

    /// Seals the secrets of receiver `id`; nothing when there are none.
    pub(super) fn seal(&self, id: &str, secrets: &Secrets) -> Result<Option<Vec<u8>>, SealError> {
        if secrets.is_empty() {
            return Ok(None);
        }
        let exposed: BTreeMap<&str, &str> =
            secrets.iter().map(|(name, secret)| (name.as_str(), secret.expose_secret())).collect();
        let plain = serde_json::to_vec(&exposed).map_err(|_| SealError::Damaged)?;
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), Payload { msg: &plain, aad: id.as_bytes() });
        let sealed = sealed.map_err(|_| SealError::Damaged)?;
        Ok(Some([&[VERSION], self.key_name.as_slice(), &nonce, &sealed].concat()))
    }

    /// Opens what was sealed for receiver `id`.
    pub(super) fn unseal(&self, id: &str, sealed: Option<&[u8]>) -> Result<Secrets, SealError> {
        let Some(sealed) = sealed else { return Ok(Secrets::new()) };
        let rest = sealed.strip_prefix(&[VERSION]).ok_or(SealError::Damaged)?;
        let (name, rest) = rest.split_first_chunk::<KEY_NAME_BYTES>().ok_or(SealError::Damaged)?;
        if *name != self.key_name {
            return Err(SealError::OtherKey);
        }
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(SealError::Damaged)?;
        let plain = self.cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: id.as_bytes() });
        let plain: BTreeMap<String, String> =
            serde_json::from_slice(&plain.map_err(|_| SealError::Damaged)?).map_err(|_| SealError::Damaged)?;
        Ok(plain.into_iter().map(|(name, secret)| (name, SecretString::from(secret))).collect())
    }
}

/// Reads the key file; makes it, whole or not at all, when it is not there.
fn key_file(path: &Path) -> Result<String, SealError> {
    let told = |what: String| SealError::KeyFile { path: path.display().to_string(), what };
    if !path.exists() {
        make_key_file(path).map_err(|error| told(format!("cannot be made: {error}")))?;
    }
    let metadata = fs::metadata(path).map_err(|error| told(format!("cannot be read: {error}")))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(told("can be read by others; its mode must be 0600".to_owned()));
    }
    let text = fs::read_to_string(path).map_err(|error| told(format!("cannot be read: {error}")))?;
    let text = text.trim().to_owned();
    if text.len() < KEY_BYTES_MIN {
        return Err(told(format!("has fewer than {KEY_BYTES_MIN} bytes")));
    }
    Ok(text)
}

/// Two processes may start at once: the file appears under its name only when it is whole, and the first one stays.
fn make_key_file(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let key: [u8; 32] = rand::random();
    let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let draft = path.with_extension(format!("{}.{:08x}", std::process::id(), rand::random::<u32>()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        [("url".to_owned(), SecretString::from("https://h/x?token=s3cret"))].into()
    }

    #[test]
    fn what_is_sealed_opens_for_its_receiver_and_its_key_only() {
        let vault = Vault::from_text("one key of some thirty-two bytes..");
        let sealed = vault.seal("slack", &secrets()).expect("sealed").expect("something");
        assert!(!sealed.windows(6).any(|part| part == b"s3cret"));
        let opened = vault.unseal("slack", Some(&sealed)).expect("opens");
        assert_eq!(opened["url"].expose_secret(), "https://h/x?token=s3cret");
        assert!(matches!(vault.unseal("email", Some(&sealed)), Err(SealError::Damaged)));
        let mut bent = sealed.clone();
        *bent.last_mut().expect("bytes") ^= 1;
        assert!(matches!(vault.unseal("slack", Some(&bent)), Err(SealError::Damaged)));
        let other = Vault::from_text("another key of some thirty-two bytes");
        assert!(matches!(other.unseal("slack", Some(&sealed)), Err(SealError::OtherKey)));
    }

    #[test]
    fn the_key_file_is_made_once_and_must_be_private() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("data").join(KEY_FILE);
        let key = key_file(&path).expect("made");
        assert_eq!(key_file(&path).expect("read"), key);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
        assert!(key_file(&path).expect_err("too open").to_string().contains("0600"));
    }
}
