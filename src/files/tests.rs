use std::{fs, path::PathBuf};

use chrono::TimeDelta;

use super::*;

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("files-{}", uuid::Uuid::new_v4()));
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn read(files: &Files, name: &str, range: Option<std::ops::Range<u64>>) -> Option<Vec<u8>> {
    let opened = files.get(Kind::Audio, name, range).await.unwrap()?;
    let pieces: Vec<Bytes> = opened.bytes.try_collect().await.unwrap();
    Some(pieces.concat())
}

#[tokio::test]
async fn a_file_is_there_until_it_is_removed() {
    let folder = Folder::new();
    let files = Files::in_folder(&folder.0).unwrap();
    let name = files
        .put(Kind::Audio, "mp3", Bytes::from_static(b"0123456789"))
        .await
        .unwrap();
    assert_eq!(name.len(), 36);
    assert_ne!(name, files.put(Kind::Audio, "mp3", Bytes::new()).await.unwrap());
    assert_eq!(Files::path(Kind::Audio, &name), format!("/audio/{name}"));
    assert_eq!(fs::read(folder.0.join("audio").join(&name)).unwrap(), b"0123456789");
    assert!(files.exists(Kind::Audio, &name).await.unwrap());
    assert!(!files.exists(Kind::Avatar, &name).await.unwrap());
    assert_eq!(files.info(Kind::Audio, &name).await.unwrap().unwrap().size, 10);
    assert_eq!(read(&files, &name, None).await.unwrap(), b"0123456789");
    assert_eq!(read(&files, &name, Some(2..5)).await.unwrap(), b"234");
    files.remove(Kind::Audio, &name).await.unwrap();
    files.remove(Kind::Audio, &name).await.unwrap();
    assert!(!files.exists(Kind::Audio, &name).await.unwrap());
    assert!(read(&files, &name, None).await.is_none());
}

#[tokio::test]
async fn nothing_but_our_names_is_looked_for() {
    let folder = Folder::new();
    let files = Files::in_folder(&folder.0).unwrap();
    fs::create_dir_all(folder.0.join("audio")).unwrap();
    fs::write(folder.0.join("secret.mp3"), "s").unwrap();
    fs::write(folder.0.join("audio/list.mp3"), "s").unwrap();
    let long = format!("{}.mp3", "a".repeat(32));
    assert_eq!(Kind::Audio.media_type(&long), Some("audio/mpeg"));
    for name in [
        "",
        ".",
        "..",
        "../secret.mp3",
        "list.mp3",
        &long.to_uppercase(),
        &format!("{}.mp4", "a".repeat(32)),
        &format!("{}.mp3.mp3", "a".repeat(32)),
        &format!("{}.mp3", "g".repeat(32)),
        &format!("{}.mp3", "a".repeat(31)),
        &format!("{long}#1"),
    ] {
        assert_eq!(Kind::Audio.media_type(name), None, "{name}");
        assert!(files.info(Kind::Audio, name).await.unwrap().is_none(), "{name}");
        assert!(read(&files, name, None).await.is_none(), "{name}");
    }
}

#[tokio::test]
async fn a_sweep_removes_what_is_old_and_nobody_knows() {
    let folder = Folder::new();
    let files = Files::in_folder(&folder.0).unwrap();
    let (now, later) = (Utc::now() - TimeDelta::hours(1), Utc::now() + TimeDelta::hours(1));
    let nobody = |_| async { Ok(HashSet::new()) };
    assert_eq!(files.sweep(Kind::Avatar, later, nobody).await.unwrap(), 0);
    let mut names = Vec::new();
    for _ in 0..SWEPT_AT_ONCE + 3 {
        names.push(files.put(Kind::Avatar, "png", Bytes::from_static(b"p")).await.unwrap());
    }
    let audio = files.put(Kind::Audio, "mp3", Bytes::new()).await.unwrap();
    // What a crash in the middle of writing leaves, and what somebody else put there.
    let half = folder.0.join("avatars").join(format!("{}#1", names[0]));
    fs::write(&half, "p").unwrap();
    fs::write(folder.0.join("avatars/README"), "ours").unwrap();
    assert_eq!(files.sweep(Kind::Avatar, now, nobody).await.unwrap(), 0);
    assert!(half.exists());

    let mut batches = Vec::new();
    let removed = files.sweep(Kind::Avatar, later, |asked: Vec<String>| {
        batches.push(asked.len());
        let known = asked.into_iter().filter(|name| *name == names[1]).collect();
        std::future::ready(Ok(known))
    });
    assert_eq!(removed.await.unwrap(), SWEPT_AT_ONCE + 3);
    assert_eq!(batches, [SWEPT_AT_ONCE, 3]);
    assert!(!half.exists());
    assert!(files.exists(Kind::Avatar, &names[1]).await.unwrap());
    assert!(!files.exists(Kind::Avatar, &names[2]).await.unwrap());
    assert!(files.exists(Kind::Audio, &audio).await.unwrap());
    assert!(folder.0.join("avatars/README").exists());

    // Where it cannot be told what is known, nothing goes.
    let failing = |_| async { Err(Error::internal("no database")) };
    assert!(files.sweep(Kind::Avatar, later, failing).await.is_err());
    assert!(files.exists(Kind::Avatar, &names[1]).await.unwrap());
}

#[tokio::test]
async fn a_store_that_does_not_work_is_unavailable_and_says_no_more() {
    let folder = Folder::new();
    let files = Files::in_folder(&folder.0).unwrap();
    // A file where its folder should be.
    fs::write(folder.0.join("audio"), "").unwrap();
    let error = files.put(Kind::Audio, "mp3", Bytes::new()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Unavailable, Some(1)));
    assert!(!error.rest_body().to_string().contains("audio"));
    assert!(format!("{error:?}").contains("audio"));
}
