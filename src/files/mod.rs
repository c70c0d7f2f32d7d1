//! Files that the server made or took: speech and avatars, in a folder or in a bucket, under names that cannot be guessed.
//!
//! A name is never used twice and what it names never changes, so that whoever knows one may keep what they got for it.

use std::{collections::HashSet, fmt::Write, fs, path::Path, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig, aws::AmazonS3Builder,
    local::LocalFileSystem, path::Path as Location, prefix::PrefixStore,
};

use crate::{
    boot::Failed,
    config::{FilesUrl, Settings},
    error::{Error, Kind as ErrorKind, Result},
    outbound,
};

#[cfg(test)]
mod tests;

/// The folder in the data folder that holds all files unless `files_url` says otherwise.
pub const FOLDER: &str = "files";

/// How many random bytes a name has.
const NAME_BYTES: usize = 16;
/// How many names are asked about at once.
const SWEPT_AT_ONCE: usize = 500;
/// How long a bucket is asked again where it did not answer, and how often: the caller is waiting.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRIES: usize = 2;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Audio,
    Avatar,
}

impl Kind {
    /// The folder, and the first segment of the path at which it is served.
    pub fn folder(self) -> &'static str {
        match self {
            Kind::Audio => "audio",
            Kind::Avatar => "avatars",
        }
    }

    /// The extensions that names have, each with the media type that it stands for.
    fn extensions(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Kind::Audio => &[("mp3", "audio/mpeg")],
            Kind::Avatar => &[("png", "image/png"), ("jpg", "image/jpeg"), ("webp", "image/webp")],
        }
    }

    /// The media type of a name that [`Files::put`] could have made; none for any other text.
    pub fn media_type(self, name: &str) -> Option<&'static str> {
        let (stem, extension) = name.split_once('.')?;
        let is_made =
            stem.len() == 2 * NAME_BYTES && stem.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let known = self.extensions().iter().find(|(known, _)| *known == extension);
        known.filter(|_| is_made).map(|(_, media_type)| *media_type)
    }
}

/// What is known of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// In bytes.
    pub size: u64,
    pub modified: DateTime<Utc>,
}

/// A file that is being read.
pub struct Opened {
    pub info: Info,
    /// What was asked for of it, as it comes. It breaks off where the store does.
    pub bytes: BoxStream<'static, Result<Bytes>>,
}

/// Where the files are. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Files {
    store: Arc<dyn ObjectStore>,
    /// Where that is a folder.
    folder: Option<PathBuf>,
}

impl Files {
    /// Opens what the settings name: a folder in the data folder, another folder, or a bucket. A bucket is not asked for
    /// anything yet.
    ///
    /// # Errors
    ///
    /// A folder that cannot be made, or a bucket that the `AWS_*` variables do not describe.
    pub fn open(settings: &Settings) -> Result<Files, Failed> {
        match &settings.files {
            None => Self::in_folder(&settings.data_dir.join(FOLDER)),
            Some(FilesUrl::Folder(folder)) => Self::in_folder(folder),
            Some(FilesUrl::S3 { bucket, prefix }) => Self::in_bucket(bucket, prefix),
        }
    }

    /// Files in a folder, which is made if it is not there. What is written is on disk when it is answered for.
    ///
    /// # Errors
    ///
    /// A folder that cannot be made.
    pub fn in_folder(folder: &Path) -> Result<Files, Failed> {
        fs::create_dir_all(folder)
            .map_err(|why| format!("files_url: the folder {} cannot be made: {why}", folder.display()))?;
        let store = LocalFileSystem::new_with_prefix(folder)
            .map_err(|why| format!("files_url: the folder {} cannot be used: {why}", folder.display()))?;
        Ok(Self {
            store: Arc::new(store.with_fsync(true)),
            folder: Some(folder.to_owned()),
        })
    }

    fn in_bucket(bucket: &str, prefix: &str) -> Result<Files, Failed> {
        outbound::choose_tls();
        let retries = RetryConfig {
            max_retries: RETRIES,
            retry_timeout: PATIENCE,
            ..Default::default()
        };
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_retry(retries)
            // One at a time is all that is removed, and not everything that speaks S3 knows how to remove many.
            .with_disable_bulk_delete(true)
            .build()
            .map_err(|why| format!("files_url: the bucket {bucket} cannot be used: {why}"))?;
        let prefix = Location::parse(prefix).map_err(|why| format!("files_url: {why}"))?;
        Ok(Self {
            store: Arc::new(PrefixStore::new(store, prefix)),
            folder: None,
        })
    }

    /// Writes a file, whole or not at all, under a new name that cannot be guessed; the name. `extension` is one of the
    /// kind's.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` where the store does not take it.
    pub async fn put(&self, kind: Kind, extension: &'static str, bytes: Bytes) -> Result<String> {
        let name = new_name(extension);
        debug_assert!(
            kind.media_type(&name).is_some(),
            "{extension} is no extension of {kind:?}"
        );
        self.store
            .put(&location(kind, &name), bytes.into())
            .await
            .map_err(failed)?;
        Ok(name)
    }

    /// Removes a file; one that is not there is no error.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` where the store does not answer.
    pub async fn remove(&self, kind: Kind, name: &str) -> Result<()> {
        match self.store.delete(&location(kind, name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// As [`remove`](Self::remove), for what nothing refers to any more: where that fails, a sweep removes it later.
    pub async fn discard(&self, kind: Kind, name: &str) {
        if let Err(error) = self.remove(kind, name).await {
            tracing::warn!(?error, ?kind, "a file was not removed; the next sweep tries again");
        }
    }

    /// # Errors
    ///
    /// `UNAVAILABLE` where the store does not answer.
    pub async fn exists(&self, kind: Kind, name: &str) -> Result<bool> {
        Ok(self.info(kind, name).await?.is_some())
    }

    /// What is known of a file; none where there is none.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` where the store does not answer.
    pub async fn info(&self, kind: Kind, name: &str) -> Result<Option<Info>> {
        if kind.media_type(name).is_none() {
            return Ok(None);
        }
        match self.store.head(&location(kind, name)).await {
            Ok(meta) => Ok(Some(info(&meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Opens a file for reading, whole or from byte `start` to before byte `end`, which are within it; none where there is
    /// none.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` where the store does not answer.
    pub async fn get(&self, kind: Kind, name: &str, range: Option<std::ops::Range<u64>>) -> Result<Option<Opened>> {
        if kind.media_type(name).is_none() {
            return Ok(None);
        }
        let options = GetOptions {
            range: range.map(GetRange::Bounded),
            ..Default::default()
        };
        match self.store.get_opts(&location(kind, name), options).await {
            Ok(got) => Ok(Some(Opened {
                info: info(&got.meta),
                bytes: got.into_stream().map_err(failed).boxed(),
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Removes the files of a kind, last changed before `older_than`, that `known` does not know: what a crash between
    /// writing a file and its row left behind. `known` gets names, 500 at most, and gives back those that have a row. How
    /// many were removed.
    ///
    /// # Errors
    ///
    /// What `known` fails with, and `UNAVAILABLE` where the store does not answer.
    pub async fn sweep<F, R>(&self, kind: Kind, older_than: DateTime<Utc>, mut known: F) -> Result<usize>
    where
        F: FnMut(Vec<String>) -> R,
        R: Future<Output = Result<HashSet<String>>>,
    {
        let mut removed = self.remove_half_written(kind, older_than).await?;
        let old = self
            .store
            .list(Some(&Location::from(kind.folder())))
            .try_filter(|meta| std::future::ready(meta.last_modified < older_than))
            // What we did not name is not ours to remove.
            .try_filter_map(|meta| {
                let name = meta.location.filename().filter(|name| kind.media_type(name).is_some());
                std::future::ready(Ok(name.map(str::to_owned)))
            });
        let mut batches = old.try_chunks(SWEPT_AT_ONCE);
        while let Some(batch) = batches.next().await {
            let names = batch.map_err(|error| failed(error.1))?;
            let known = known(names.clone()).await?;
            for name in names.iter().filter(|name| !known.contains(*name)) {
                self.remove(kind, name).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// What a crash in the middle of writing left in a folder: the store writes beside the file, as `NAME#1`, and lists no
    /// such names.
    async fn remove_half_written(&self, kind: Kind, older_than: DateTime<Utc>) -> Result<usize> {
        let Some(folder) = self.folder.as_ref().map(|folder| folder.join(kind.folder())) else {
            return Ok(0);
        };
        let removed = tokio::task::spawn_blocking(move || {
            let mut removed = 0;
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let is_half = entry.file_name().to_string_lossy().contains('#');
                if is_half && DateTime::<Utc>::from(entry.metadata()?.modified()?) < older_than {
                    fs::remove_file(entry.path())?;
                    removed += 1;
                }
            }
            std::io::Result::Ok(removed)
        });
        match removed.await.map_err(Error::internal)? {
            Ok(removed) => Ok(removed),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Where a file is served: `/audio/NAME` or `/avatars/NAME`.
    pub fn path(kind: Kind, name: &str) -> String {
        format!("/{}/{name}", kind.folder())
    }
}

fn new_name(extension: &str) -> String {
    let bytes: [u8; NAME_BYTES] = rand::random();
    let mut name = String::with_capacity(2 * NAME_BYTES + 1 + extension.len());
    for byte in bytes {
        write!(name, "{byte:02x}").expect("a string takes everything");
    }
    name + "." + extension
}

fn location(kind: Kind, name: &str) -> Location {
    Location::from_iter([kind.folder(), name])
}

fn info(meta: &ObjectMeta) -> Info {
    Info {
        size: meta.size,
        modified: meta.last_modified,
    }
}

/// Whether it is out of reach, full, or refuses us: the client can only try again.
fn failed(error: object_store::Error) -> Error {
    unavailable(error)
}

fn unavailable(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, "the file store does not answer")
        .with("retryAfter", 1)
        .with_source(source)
}
