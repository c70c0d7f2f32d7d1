//! Secrets at rest: encrypted under a key that is not in the database, so that a copy of the database holds none.
//!
//! XChaCha20-Poly1305, whose nonces are long enough to be random. A sealed text is a version byte, the nonce, and the
//! ciphertext with its tag.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};

use crate::{
    boot::Failed,
    config::{SecretKey, Settings},
    error::{Error, Result},
};

/// The file in the data folder that holds the key unless the settings do.
pub const FILE: &str = "secret.key";

/// The first byte of what is sealed this way.
const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
/// Far more than the file may hold, so that it can be seen to be too long.
const LONGEST_FILE: u64 = 1_024;

/// Seals and opens secrets. Its `Debug` does not show the key. Cheap to clone.
#[derive(Clone)]
pub struct Seal(Arc<XChaCha20Poly1305>);

impl Seal {
    /// With the key of the settings, or else that of [`FILE`] in the data folder. The first start makes the file, readable
    /// for its owner alone; of several that start at once, one makes it and all take its key.
    ///
    /// # Errors
    ///
    /// A file that cannot be made or read, that others than its owner may read, or that is no key.
    pub fn open(settings: &Settings) -> Result<Self, Failed> {
        match &settings.secret_key {
            Some(key) => Ok(Self::with(key)),
            None => Ok(Self::with(&key_in(&settings.data_dir)?)),
        }
    }

    fn with(key: &SecretKey) -> Self {
        Self(Arc::new(XChaCha20Poly1305::new(key.expose().into())))
    }

    /// `text`, sealed. Only the same `context` opens it: what it belongs to, such as the id of a webhook, so that it is of
    /// no use in another row.
    pub fn seal(&self, context: &[u8], text: &str) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload {
            msg: text.as_bytes(),
            aad: context,
        };
        let ciphertext = self
            .0
            .encrypt(&XNonce::from(nonce), payload)
            .expect("only texts of 256 GiB are too long");
        [&[VERSION], nonce.as_slice(), &ciphertext].concat()
    }

    /// What was sealed with this key and this context.
    ///
    /// # Errors
    ///
    /// Internal: it was sealed with another key, for another context, or changed since.
    pub fn open_sealed(&self, context: &[u8], sealed: &[u8]) -> Result<String> {
        self.try_open(context, sealed).ok_or_else(|| {
            Error::internal("a secret in the database was sealed with another key or changed: is secret_key the same on every node, or secret.key lost?")
        })
    }

    fn try_open(&self, context: &[u8], sealed: &[u8]) -> Option<String> {
        let (version, rest) = sealed.split_first()?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>()?;
        if *version != VERSION {
            return None;
        }
        let payload = Payload {
            msg: ciphertext,
            aad: context,
        };
        let text = self.0.decrypt(&XNonce::from(*nonce), payload).ok()?;
        String::from_utf8(text).ok()
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

/// The key in the file of a folder; both are made if they are not there.
fn key_in(folder: &Path) -> Result<SecretKey, Failed> {
    let path = folder.join(FILE);
    let failed = |why: &dyn fmt::Display| Failed::from(format!("the key in {} cannot be used: {why}", path.display()));
    let text = match read(&path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => make(folder, &path).and_then(|()| read(&path)),
        result => result,
    };
    let text = text.map_err(|why| failed(&why))?;
    text.parse().map_err(|why: String| failed(&format!("it {why}")))
}

fn read(path: &Path) -> io::Result<String> {
    let file = fs::File::open(path)?;
    // Of what was opened, not of what has the name by now.
    if file.metadata()?.mode() & 0o077 != 0 {
        return Err(io::Error::other(
            "others than its owner may use it; chmod 600 keeps them out",
        ));
    }
    let mut text = String::new();
    file.take(LONGEST_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// Makes the file with a new key, unless another process made it meanwhile. It is never seen half written: it is
/// written under another name, and linking does not replace what is there.
fn make(folder: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let key: [u8; SecretKey::BYTES] = rand::random();
    let temporary = folder.join(format!(".{FILE}.{:016x}", rand::random::<u64>()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            writeln!(file, "{}", BASE64_STANDARD.encode(key))?;
            file.sync_all()
        });
    let linked = written.and_then(|()| match fs::hard_link(&temporary, path) {
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    });
    // Where nothing was written there is nothing to remove.
    let _ = fs::remove_file(&temporary);
    linked?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Barrier, thread};

    use super::*;
    use crate::error::Kind;

    /// A folder of its own, removed when dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("seal_{:016x}", rand::random::<u64>()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn open(&self) -> Result<Seal, String> {
            let settings = Settings {
                data_dir: self.0.clone(),
                ..Settings::default()
            };
            Seal::open(&settings).map_err(|why| why.to_string())
        }

        fn put(&self, text: &str, mode: u32) {
            fs::write(self.0.join(FILE), text).unwrap();
            fs::set_permissions(self.0.join(FILE), fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn seal_of(byte: u8) -> Seal {
        let key = BASE64_STANDARD.encode([byte; SecretKey::BYTES]);
        let settings = Settings {
            secret_key: Some(key.parse().unwrap()),
            data_dir: PathBuf::from("/dev/null/nothing is read here"),
            ..Settings::default()
        };
        Seal::open(&settings).unwrap()
    }

    #[test]
    fn what_is_sealed_can_be_opened_and_not_be_seen() {
        let seal = seal_of(1);
        for text in ["", "whsec_abc", "ein längeres Geheimnis"] {
            let sealed = seal.seal(b"webhook_1", text);
            assert_eq!(seal.open_sealed(b"webhook_1", &sealed).unwrap(), text);
            assert_ne!(seal.seal(b"webhook_1", text), sealed, "a nonce was used twice");
            if !text.is_empty() {
                assert!(!sealed.windows(text.len()).any(|part| part == text.as_bytes()));
            }
        }
    }

    #[test]
    fn another_context_another_key_or_any_changed_byte_opens_nothing() {
        let seal = seal_of(1);
        let sealed = seal.seal(b"webhook_1", "whsec_abc");
        let refused = |seal: &Seal, context: &[u8], sealed: &[u8]| {
            let error = seal.open_sealed(context, sealed).unwrap_err();
            error.kind() == Kind::Internal && !error.message().contains("secret")
        };
        assert!(refused(&seal, b"webhook_2", &sealed));
        assert!(refused(&seal_of(2), b"webhook_1", &sealed));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(refused(&seal, b"webhook_1", &changed), "byte {at}");
            assert!(refused(&seal, b"webhook_1", &sealed[..at]), "cut at {at}");
        }
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_alone() {
        let folder = Folder::new();
        let sealed = folder.open().unwrap().seal(b"a", "text");
        let mode = fs::metadata(folder.0.join(FILE)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(folder.open().unwrap().open_sealed(b"a", &sealed).unwrap(), "text");
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing else is left");
        // What the file holds is what the setting takes.
        let settings = Settings {
            secret_key: Some(fs::read_to_string(folder.0.join(FILE)).unwrap().parse().unwrap()),
            ..Settings::default()
        };
        assert_eq!(
            Seal::open(&settings).unwrap().open_sealed(b"a", &sealed).unwrap(),
            "text"
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_made() {
        let folder = Folder::new();
        fs::remove_dir(&folder.0).unwrap();
        folder.open().unwrap();
        assert!(folder.0.join(FILE).is_file());
    }

    #[test]
    fn all_that_start_at_once_have_one_key() {
        for _ in 0..20 {
            let folder = Folder::new();
            let start = Barrier::new(8);
            let seals: Vec<Seal> = thread::scope(|scope| {
                let open = || {
                    start.wait();
                    folder.open().unwrap()
                };
                let all: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            let sealed = seals[0].seal(b"a", "text");
            for seal in seals {
                assert_eq!(seal.open_sealed(b"a", &sealed).unwrap(), "text");
            }
            assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_file_that_others_may_read_or_that_is_no_key_is_refused() {
        let key = BASE64_STANDARD.encode([7; SecretKey::BYTES]);
        let longer = BASE64_STANDARD.encode([7; SecretKey::BYTES + 1]);
        for (text, mode, why) in [
            (key.as_str(), 0o640, "chmod 600"),
            (&key, 0o604, "chmod 600"),
            (&longer, 0o600, "it must be 32 bytes in base64"),
            ("", 0o600, "it must be 32 bytes in base64"),
        ] {
            let folder = Folder::new();
            folder.put(text, mode);
            let message = folder.open().unwrap_err();
            assert!(message.contains(why) && message.contains(FILE), "{message}");
            assert!(text.is_empty() || !message.contains(text), "{message}");
            assert_eq!(
                fs::read_to_string(folder.0.join(FILE)).unwrap(),
                text,
                "it is left as it is"
            );
        }
        let folder = Folder::new();
        folder.put(&format!("{key}\n"), 0o400);
        folder.open().unwrap();
    }

    #[test]
    fn the_key_is_not_printed() {
        assert_eq!(format!("{:?}", seal_of(1)), "Seal");
    }
}
